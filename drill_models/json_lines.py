"""Files of one JSON value a line, to which work adds as it ends."""

import os
from pathlib import Path

from drill_models.errors import DrillError


def append_line(path: Path, line: str) -> None:
    """Adds a line; it is on disk before this returns. One that was cut off before stays a line of its own.

    Raises:
        DrillError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DrillError(f"{path}: cannot be written: {error.strerror}") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a file, none where there is no file; a line may be cut off.

    Raises:
        DrillError: The file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    except OSError as error:
        raise DrillError(f"{path}: cannot be read: {error.strerror}") from error
