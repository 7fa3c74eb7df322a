"""Storages: opened, locked, waited for, and the files beside them."""
