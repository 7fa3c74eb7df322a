"""Remembers which study a search used last, so that other commands need not be told."""

import json
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from drill_models.files import write_text
from search.storage.url import without_secrets

FILE = Path("studies/.last-used.json")


@dataclass(frozen=True)
class LastUsed:
    """Storage URL (never with a password) and study name."""

    storage: str
    study: str


def remember(url: URL, study: str) -> None:
    """Writes what was used last, below the current folder; a password is left out."""
    bare = without_secrets(url).render_as_string(hide_password=False)
    write_text(FILE, json.dumps({"storage": bare, "study": study}) + "\n")


def last_used() -> LastUsed | None:
    """What was used last below the current folder, or None."""
    try:
        content = json.loads(FILE.read_text(encoding="utf-8"))
        return LastUsed(storage=str(content["storage"]), study=str(content["study"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
