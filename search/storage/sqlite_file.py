"""A SQLite file that is removed, moved or exchanged while it is searched: noticed, and its content saved.

A removed file lives on for those that have it open. SQLite writes on into it, and all of that would be gone with
the process. So before each reading and writing it is looked whether the file is still there.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from drill_models.errors import StudyError
from search.storage.retry import Patience, PatientStorage

_ALIKE = "SELECT (SELECT group_concat(study_name) FROM studies), COUNT(*), MAX(trial_id) FROM trials"
"""What two copies of one database have in common."""


class DatabaseRemoved(StudyError):
    """The file of a study is gone while it is searched.

    Attributes:
        saved: Where its content is now, or None where nothing could be saved.
    """

    def __init__(self, message: str, saved: Path | None) -> None:
        super().__init__(message)
        self.saved = saved


class FileStorage(PatientStorage):
    """Optuna's storage in a SQLite file, which may be locked for a while, and may be removed.

    Args:
        url: Of the database.
        file: Its file.
        patience: With a lock of another program.
        engine_kwargs: As for `optuna.storages.RDBStorage`.
    """

    _known: tuple[int, int] | None = None
    _removed: DatabaseRemoved | None = None

    def __init__(self, url: str, file: Path, patience: Patience, engine_kwargs: dict[str, Any]) -> None:
        self._file = file.absolute()  # the current folder may change
        super().__init__(url, patience, engine_kwargs)
        self._known = _identity(self._file)

    def look(self) -> None:
        """Notices that the file is gone.

        Raises:
            DatabaseRemoved: It is; what was in it is saved.
        """
        if self._removed is not None:
            raise self._removed
        if self._known is None:  # while it is made
            return
        now = _identity(self._file)
        if now == self._known:
            return
        if now is not None and self._is_a_copy():
            self._known = now  # some network folders number their files anew
            self._close()
            return
        self._removed = self._rescued(exchanged=now is not None)
        raise self._removed

    def _is_a_copy(self) -> bool:
        """Whether what is there now holds the same trials."""
        try:
            with closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True)) as there:
                found = there.execute(_ALIKE).fetchone()
            return bool(found == self._of_the_old(lambda old: old.execute(_ALIKE).fetchone()))
        except (sqlite3.Error, SQLAlchemyError):
            return False

    def _of_the_old(self, action: Callable[[sqlite3.Connection], Any]) -> Any:
        """Does something with a connection that was opened before the file was removed."""
        self.remove_session()
        with closing(self.engine.raw_connection()) as pooled:
            assert isinstance(pooled.driver_connection, sqlite3.Connection)
            return action(pooled.driver_connection)

    def _rescued(self, *, exchanged: bool) -> DatabaseRemoved:
        """Writes what was in the file: in its place, or beside another that is there now."""
        what = "exchanged for another" if exchanged else "removed"
        said = f"the database {self._file} was {what} while it was searched"
        to = _free_name(self._file) if exchanged else self._file
        part = to.with_name(f"{to.name}.part")
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(part)) as copy:
                self._of_the_old(lambda old: old.backup(copy))
                copy.execute("PRAGMA journal_mode=DELETE")
                (studies,) = copy.execute("SELECT COUNT(*) FROM studies").fetchone()
            if not studies:
                raise sqlite3.DatabaseError("it was empty")
            self._close()
            if not exchanged:
                _remove_leftovers(to)
            os.replace(part, to)
        except (OSError, sqlite3.Error, SQLAlchemyError) as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return DatabaseRemoved(f"{said}, and its content could not be saved: {error}", None)
        back = "it is back in its place, and the same command goes on"
        beside = f"it is in {to} now; go on with --storage sqlite:///{to}"
        return DatabaseRemoved(f"{said}. What was stored is saved: {beside if exchanged else back}", to)

    def _close(self) -> None:
        self.remove_session()
        self.engine.dispose()


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file stands under a name, or None."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _free_name(file: Path) -> Path:
    """A name beside a file that nothing has."""
    number = 1
    while (free := file.with_name(f"{file.stem}.saved-{number}{file.suffix}")).exists():
        number += 1
    return free


def _remove_leftovers(file: Path) -> None:
    """SQLite would take the write-ahead log of the old file for that of the new one."""
    for ending in ("-wal", "-shm", "-journal"):
        file.with_name(file.name + ending).unlink(missing_ok=True)
