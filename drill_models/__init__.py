"""Steps, counting, building and training of small CNNs. Knows nothing of search.

Importing this package imports no torch; only `build`, `data`, `augment`, `device` and `train` do.
"""
