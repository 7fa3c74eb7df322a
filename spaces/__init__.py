"""Spaces turn recipes into points that Optuna can store, and back. Knows no study and no torch."""
