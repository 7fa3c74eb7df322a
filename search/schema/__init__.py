"""What a study stores: strict models of it, and the checks that it has to pass."""
