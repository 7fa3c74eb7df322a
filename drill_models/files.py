"""Files are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from drill_models.errors import DrillError


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file or nothing; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing: to a temporary name beside it, then renamed.

    Raises:
        DrillError: The file cannot be written.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp's files are for the owner alone; give this one what any new file gets.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise DrillError(f"{path}: cannot be written: {error.strerror}") from error


def check_writable(path: Path) -> None:
    """Checks, before any work is done, that a file can be written; writes nothing.

    Raises:
        DrillError: It cannot.
    """
    try:
        if path.is_dir():
            raise DrillError(f"{path}: cannot be written: it is a folder")
        if path.exists():
            if not os.access(path, os.W_OK):
                raise DrillError(f"{path}: cannot be written: permission denied")
            return
        folder = next(parent for parent in path.absolute().parents if parent.exists())
    except OSError as error:
        raise DrillError(f"{path}: cannot be reached: {error.strerror}") from error
    if not folder.is_dir():
        raise DrillError(f"{path}: cannot be made: {folder} is not a folder")
    if not os.access(folder, os.W_OK):
        raise DrillError(f"{path}: cannot be made: {folder} cannot be written to")
