"""What a shell completes after an option. Reads files at most, so that the answer comes at once."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from drill_models.shipped import ladders

Completion = Callable[[str], list[str]]

DATABASE = Path("studies/drill-search.db")
"""Whose studies are completed; another storage would have to be connected to."""


def among(names: Sequence[str]) -> Completion:
    """Completes one of some names."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def hand_steps(incomplete: str) -> list[str]:
    """Completes ladders and their steps."""
    files = ladders()
    steps = [f"{ladder}/{path.stem}" for ladder, paths in files.items() for path in paths]
    return among(["all", *files, *steps])(incomplete)


def hand_steps_or_none(incomplete: str) -> list[str]:
    """Completes ladders, their steps, and `none`."""
    return [*among(["none"])(incomplete), *hand_steps(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Completes the studies of the current folder's database."""
    try:
        with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)) as connection:
            names = [name for (name,) in connection.execute("SELECT study_name FROM studies ORDER BY study_id")]
    except sqlite3.Error:  # there is none, or it is no database
        return []
    return among(names)(incomplete)
