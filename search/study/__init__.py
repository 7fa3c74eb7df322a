"""Studies: made, joined, read back, ranked, and shared by main processes."""
