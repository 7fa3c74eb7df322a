"""The search: from the command line down to studies and what trains; CONTRIBUTING.md draws its sub-packages."""
