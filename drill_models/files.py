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
    target = _behind_links(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp's files are for the owner alone; give this one what any new file gets.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise DrillError(f"{path}: cannot be written: {error.strerror}") from error


def _behind_links(path: Path) -> Path:
    """The file that is written where a path is named: that which a link leads to, in the link's folder or below.

    Raises:
        DrillError: It is a folder, a pipe or a device, which a rename would replace, or cannot be reached; or a
            link leads elsewhere, which a stranger may have laid.
    """
    try:
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(os.path.realpath(path.parent)):
            raise DrillError(f"{path}: cannot be written: it is a link to another folder; name the file itself")
        if target.is_dir():
            raise DrillError(f"{path}: cannot be written: it is a folder")
        if target.exists() and not target.is_file():
            raise DrillError(f"{path}: cannot be written: it is no regular file")
    except OSError as error:
        raise DrillError(f"{path}: cannot be reached: {error.strerror}") from error
    return target


def check_writable(path: Path) -> None:
    """Checks, before any work is done, that a file can be written; writes nothing.

    What is written has a temporary name beside it first, so its folder must be writable, too.

    Raises:
        DrillError: It cannot.
    """
    target = _behind_links(path)
    try:
        if target.exists() and not os.access(target, os.W_OK):
            raise DrillError(f"{path}: cannot be written: permission denied")
        folder = next(parent for parent in target.parents if parent.exists())
    except OSError as error:
        raise DrillError(f"{path}: cannot be reached: {error.strerror}") from error
    if not folder.is_dir():
        raise DrillError(f"{path}: cannot be made: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DrillError(f"{path}: cannot be made: {folder} cannot be written to")
