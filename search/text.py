"""Plain text: what a user names, which can be shown, stored, and made the name of a file; numbers of things."""

import os
import re
from hashlib import blake2b
from pathlib import Path
from unicodedata import category

from drill_models.errors import DrillError, StudyError

MAX_STUDY_NAME = 100
"""Characters; optuna-dashboard and tables show the whole name."""
MAX_STUDY_BYTES = 200
"""Files are named after a study, with an ending; file systems allow 255 bytes."""


PROGRAM = "drill-search"
BEHIND_UV = "uv run "


def typed(words: str) -> str:
    """A command of this program as this user types it: behind `uv run` where that started it.

    uv tells what it starts by UV_RUN_RECURSION_DEPTH. Without it, the environment may not be active in the shell.

    Args:
        words: What comes after the program's name.
    """
    return f"{BEHIND_UV if os.environ.get('UV_RUN_RECURSION_DEPTH') else ''}{PROGRAM} {words}"


def is_typed(line: str) -> bool:
    """Whether a line is a command of this program."""
    return line.strip().removeprefix(BEHIND_UV).startswith(f"{PROGRAM} ")


def counted(n: int, word: str) -> str:
    """A number of things: `1 seed`, `3 seeds`."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


_OF_NUMBERS = {
    "valid integer, unable to parse string as an integer": "it must be a whole number, in digits",
    "valid number, unable to parse string as a number": "it must be a number, in digits and a point",
    "greater than or equal to ": "it must be at least ",
    "less than or equal to ": "it must be at most ",
}
"""What the library of the command line says of `10k`, `99,4` and 0, and what is said instead."""


def in_digits(mistake: str) -> str:
    """A mistake of the command line, in plain words where it is a number's."""
    for theirs, ours in _OF_NUMBERS.items():
        mistake = re.sub(f"Input should be (a )?{theirs}", ours, mistake)
    return mistake


def lines_of(text: str) -> list[str]:
    """The lines of a text that say something."""
    return [line for line in text.splitlines() if line.strip()]


def mean_of_last(epochs: int) -> str:
    """What the value of a run of so many epochs is."""
    if epochs == 1:
        return "its one epoch"
    return f"mean of {'the last three of ' if epochs > 3 else ''}{counted(epochs, 'epoch')}"


def is_plain(text: str) -> bool:
    """Whether a text has no control characters, line breaks among them, and is Unicode throughout."""
    return not any(category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def check_plain(option: str, text: str) -> None:
    """Checks what is shown, stored or given to a driver.

    Raises:
        DrillError: It has control characters, or bytes that are not UTF-8. The text is not repeated.
    """
    if not is_plain(text):
        raise DrillError(f"{option} holds a control character, or bytes that are not text")


_USER = re.compile(r"(://|:/(?!/))(?![^\s:@/]*:\*\*\*@)\S*@")
"""What stands before the @ of a URL, unless its password is hidden already. A path made of a URL has one slash."""
_SECRET = re.compile(
    r"([?&][^\s=&]*(?:pass|pwd|secret|token|key|auth|cred)[^\s=&]*=)\S+?(?=&[^\s=&]+=|[^\w\s&]*(?:\s|$))",
    re.IGNORECASE,
)
"""A value in a URL's query whose name says that it is a secret, up to the next name or the end of the word."""


def without_passwords(text: str) -> str:
    """A text without the passwords of URLs in it: before an @, or in a query."""
    return _SECRET.sub(r"\1***", _USER.sub(r"\1***@", text))


def is_url(path: Path) -> bool:
    """Whether a path was made of a URL. A drive's letter is none's scheme."""
    return re.match(r"[A-Za-z][\w+.-]+:/", str(path)) is not None


def escaped(text: str) -> str:
    """A text whose control characters, but line breaks and tabs, are written out: they would steer a terminal."""
    return "".join(c if c in "\n\t" or is_plain(c) else c.encode("unicode_escape").decode() for c in text)


def check_study_name(option: str, name: str) -> None:
    """Checks the name of a study that is to be made.

    Raises:
        StudyError: It is empty or too long, or files cannot be named so.
    """
    if not name.strip() or len(name) > MAX_STUDY_NAME:
        raise StudyError(f"{option} must have 1 to {MAX_STUDY_NAME} characters")
    check_plain(option, name)
    if "://" in name:  # it may hold a password, and would be stored, logged and shown
        raise StudyError(f"{option} cannot be a URL; --storage takes one")
    if len(name.encode()) > MAX_STUDY_BYTES:
        raise StudyError(f"{option} is too long for the name of a file: at most {MAX_STUDY_BYTES} bytes")
    if name in (".", ".."):
        raise StudyError(f"{option} cannot be {name}: files are named after it")


def file_name(study: str) -> str:
    """A study's name as a part of a file's; two studies may have the same."""
    return study.replace("/", "_")


def lock_name(study: str) -> str:
    """A file's name that one study has alone."""
    readable = re.sub(r"[^A-Za-z0-9._+-]", "_", study)[:MAX_STUDY_NAME]
    return f".{readable}-{blake2b(study.encode(errors='surrogateescape'), digest_size=4).hexdigest()}.lock"
