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
    return (text.isascii() and text.isprintable()) or not any(
        category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text
    )


def is_harmless(text: str) -> bool:
    """Whether a text is plain, and has no characters that nobody sees, or that turn the direction of others."""
    return (text.isascii() and text.isprintable()) or not any(_steers(c) for c in text)


def _steers(character: str) -> bool:
    """Whether a character is a control, a line break, half of one, or of format: zero-width and bidirectional."""
    return category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()


def harmless(text: object, most: int = 300) -> str:
    """Text of others as one line that does nothing to a terminal, a page or a log: the one place for it.

    What steers is written out (`\\x1b`, `\\u202e`), line breaks too; what is longer than `most` is cut.
    """
    whole = str(text)
    cut = whole if len(whole) <= most else f"{whole[: most - 3]}..."
    return cut if is_harmless(cut) else "".join(_written_out(c) if _steers(c) else c for c in cut)


def check_plain(option: str, text: str) -> None:
    """Checks what is shown, stored or given to a driver.

    Raises:
        DrillError: It has control characters, or bytes that are not UTF-8. The text is not repeated.
    """
    if not is_plain(text):
        raise DrillError(f"{option} holds a control character, or bytes that are not text")


_SECRET_NAMES = ("pass", "pwd", "pw", "secret", "token", "key", "auth", "cred")
"""In the name of a part of a URL's query, lower case: its value is a secret."""


def without_passwords(text: str) -> str:
    """A text without the passwords of URLs in it: before an @, or in a query, whatever blanks are in them.

    Every step goes through the text once; hidden is rather too much than too little.
    """
    return "\n".join(_without_secrets(_without_users(line)) for line in text.split("\n"))


def _without_users(line: str) -> str:
    """Hides what stands between the slashes of a URL and its last @. A path made of a URL has one slash."""
    found = re.split(r"((?<![\w+.:@/-])[A-Za-z][\w+.-]*:/{1,2})", line)
    for i in range(2, len(found), 2):
        head, at, rest = found[i].rpartition("@")
        user, colon, password = head.partition(":")
        if not at or (not colon and re.search(r"\s", user)):
            continue
        if password == "***" and not re.search(r"[\s/]", user):
            continue
        word, space, more = found[i].partition(" ")
        if "@" in word and password.startswith("***@"):
            continue  # hidden already; a further @ is of the sentence
        if "@" in word and "@" not in more:
            head, _, rest = word.rpartition("@")
            rest += space + more
        elif re.search(r"\s", user.partition("/")[0]):
            continue
        found[i] = f"***@{rest}"
    return "".join(found)


def _without_secrets(line: str) -> str:
    """Hides values of a query whose names say that they are secrets, up to the next, a quote or a colon."""
    pieces, hides = re.split(r"([?&;])", line), False
    for i in range(2, len(pieces), 2):
        name, equals, value = pieces[i].partition("=")
        if hides and not equals and pieces[i - 1] == "&":  # a secret that has an & in it
            end = re.search(r"['\"\s]|$", pieces[i])
            pieces[i] = f"***{pieces[i][end.start() :] if end is not None else ''}"
        hides = False
        if equals and not re.search(r"\s", name) and any(word in name.lower() for word in _SECRET_NAMES):
            end = re.search(r"['\"]|: |, |$", value)
            pieces[i] = f"{name}=***{value[end.start() :] if end is not None else ''}"
            hides = True
    return "".join(pieces)


def is_url(path: Path) -> bool:
    """Whether a path was made of a URL. A drive's letter is none's scheme."""
    return re.match(r"[A-Za-z][\w+.-]+:/", str(path)) is not None


def escaped(text: str) -> str:
    """Lines of a text; what would steer a terminal is written out, but line breaks and tabs, which are our own."""
    return (
        text
        if is_harmless(text)
        else "".join(c if c in "\n\t" or not _steers(c) else _written_out(c) for c in text)
    )


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
    plain = harmless(study.replace("/", "_"), MAX_STUDY_NAME)
    return plain if plain == study.replace("/", "_") else f"{plain}-{_digest_of(study)}"


def _digest_of(text: str) -> str:
    return blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def lock_name(study: str) -> str:
    """A file's name that one study has alone."""
    readable = re.sub(r"[^A-Za-z0-9._+-]", "_", study)[:MAX_STUDY_NAME]
    return f".{readable}-{blake2b(study.encode(errors='surrogateescape'), digest_size=4).hexdigest()}.lock"
