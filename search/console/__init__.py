"""What a person or a program reads in a terminal: progress, tables, JSON."""
