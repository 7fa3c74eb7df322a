"""Storages: opening, locking, and errors in one sentence."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import filelock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import NoSuchModuleError, OperationalError, SQLAlchemyError

from drill_models.errors import DrillError, Interrupted, StudyError
from drill_models.files import check_writable
from search.storage.advisory_locks import LockLost, server_locks
from search.storage.batched import TogetherStorage
from search.storage.retry import Patience, PatientStorage, cause_of, is_locked
from search.storage.sqlite_file import FileStorage
from search.storage.url import connect_args, secrets, short_wait, shown, sqlite_file
from search.text import lock_name

DRIVERS = (
    (("postgresql", "postgres"), "psycopg[binary]", "postgresql+psycopg"),
    (("mysql", "mariadb"), "pymysql[rsa]", "mysql+pymysql"),
)
"""What a URL may begin with, the package that it needs, and how it then begins."""


_DAMAGE = ("malformed", "not a database", "Could not decode to UTF-8")
"""What SQLite says of a file that is not as it wrote it."""


def reach(url: URL, *, pass_locked: bool = False) -> bool:
    """Checks that a storage answers, or that its file is whole or could be made; makes nothing.

    Args:
        url: Where.
        pass_locked: Leave a file that another program has locked unchecked: whoever opens it waits.

    Returns:
        Whether there is a database that could be read.

    Raises:
        StudyError: It does not, or could not.
    """
    file = sqlite_file(url)
    if file is not None:
        try:
            check_writable(Path(os.path.realpath(file)))  # SQLite itself follows links
        except DrillError as error:
            raise StudyError(str(error)) from error
        if not file.exists():
            return False
    with storage_errors(url), _missing_driver(url), _connecting(url):
        engine = create_engine(url, connect_args=connect_args(url))
        try:
            with engine.connect() as connection:
                if file is None:
                    connection.execute(text("SELECT 1"))
                elif (found := connection.execute(text("PRAGMA quick_check(1)")).scalar()) != "ok":
                    raise StudyError(_damaged(url, str(found)))
        except OperationalError as error:
            if pass_locked and is_locked(error):
                return False
            raise
        finally:
            engine.dispose()
    return True


def open_storage(url: URL, *, create: bool, patience: Patience | None = None) -> TogetherStorage:
    """Connects to a storage.

    Args:
        url: Where.
        create: Whether a SQLite file, and its folder, may be made.
        patience: With a server that goes away, or a SQLite file that another program locks, now or later; without
            it, that is an error at once. A wrong address would be waited for, too: ask `reach` first.

    Raises:
        StudyError: Nothing answers there, or it cannot be written to.
    """
    file = sqlite_file(url)
    if file is not None:
        if not create and not file.is_file():
            raise StudyError(f"there is no study database {file}; run a search first, or name one by --storage")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"{file.parent} cannot be made: {error.strerror}") from error
    address = url.render_as_string(hide_password=False)
    with storage_errors(url), _missing_driver(url), _connecting(url):
        if url.get_backend_name() == "sqlite":
            if patience is None or file is None:
                return TogetherStorage(address, engine_kwargs={"connect_args": connect_args(url)})
            settings: dict[str, Any] = {"connect_args": {**short_wait(url), **connect_args(url)}}
            return patience.with_(partial(FileStorage, address, file, patience, settings))
        # Several processes that make the tables at the same time would trip over each other.
        waits = patience or Patience(seconds=0)
        settings = {"connect_args": connect_args(url), "pool_pre_ping": True}
        with closing(server_locks(url, connect_args(url), waits)) as locks:
            while True:
                with suppress(LockLost), locks.held("tables", waits.context.should_stop) as has:
                    if not has:
                        raise Interrupted
                    return waits.with_(partial(PatientStorage, address, waits, settings))


@contextmanager
def _missing_driver(url: URL) -> Iterator[None]:
    try:
        yield
    except (ImportError, NoSuchModuleError) as error:
        remedy = "studies lie in SQLite, PostgreSQL or MySQL"
        for backends, package, begins in DRIVERS:
            if url.drivername.partition("+")[0] in backends:
                remedy = f"pip install '{package}', and begin the URL with {begins}://"
        raise StudyError(f"{shown(url)}: no driver for {url.drivername} is installed: {remedy}") from error


@contextmanager
def storage_errors(url: URL) -> Iterator[None]:
    """Turns a database's error into one sentence with the URL, its password hidden.

    Raises:
        StudyError: In place of SQLAlchemy's and Optuna's errors, and where a study was deleted meanwhile.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = cause_of(error)
        raise StudyError(
            _failed(url, str(getattr(cause, "orig", None) or cause) or type(cause).__name__)
        ) from error
    except KeyError as error:
        if "Record does not exist" not in str(error):
            raise
        raise StudyError(f"the study is no longer in {shown(url)}: somebody deleted it") from error
    except json.JSONDecodeError as error:
        raise StudyError(_damaged(url, f"a value in it is no JSON ({error})")) from error
    except RuntimeError as error:
        # Optuna, of a database made by another version of it.
        if "alembic" not in str(error) and "schema" not in str(error):
            raise
        raise StudyError(f"the storage {shown(url)} was made by another version of Optuna") from error


@contextmanager
def _connecting(url: URL) -> Iterator[None]:
    """What a driver says of an address whose options it does not know.

    Raises:
        StudyError: In place of its TypeError or ValueError.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise StudyError(_failed(url, str(error))) from error


def _failed(url: URL, reason: str) -> str:
    """A sentence without a password."""
    for secret in secrets(url):
        reason = reason.replace(secret, "***")
    first = (reason.strip().splitlines() or [""])[0][:200]
    if sqlite_file(url) is not None and any(word in first for word in _DAMAGE):
        return _damaged(url, first)
    return f"the storage {shown(url)} failed: {first}"


def _damaged(url: URL, reason: str) -> str:
    # SQLite's own words for it may go over several lines.
    return f"the storage {shown(url)} is damaged: {' '.join(reason.split())[:200]}; go on with a copy of it"


@contextmanager
def closed_after(storage: RDBStorage) -> Iterator[None]:
    """Gives a storage's connections back."""
    try:
        yield
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def quick_writes(storage: RDBStorage, url: URL) -> Iterator[None]:
    """Lets SQLite write ahead, so that changes do not wait for the disk; leaves other databases as they are.

    A process that is killed loses nothing by it; a power failure may lose the last changes, and nothing else. In
    the end the database is one ordinary file again, unless somebody else has it open.
    """
    file = sqlite_file(url)
    if file is None:
        yield
        return

    def configure(connection: sqlite3.Connection, _record: object) -> None:
        with suppress(sqlite3.Error):  # some network folders cannot
            if connection.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",):
                connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(storage.engine, "connect", configure)
    storage.engine.dispose()  # connections that were opened before
    try:
        yield
    finally:
        event.remove(storage.engine, "connect", configure)
        storage.engine.dispose()
        if file.is_file():  # else SQLite would make an empty one
            with suppress(SQLAlchemyError), storage.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=DELETE")


@contextmanager
def sole_owner(url: URL, study: str) -> Iterator[None]:
    """Holds a SQLite study for this process alone; does nothing for other databases.

    The lock goes with the process, also when it is killed.

    Raises:
        StudyError: Another process holds it.
    """
    file = sqlite_file(url)
    if file is None:
        yield
        return
    # Two names for one file, a link for example, are one lock; two studies are two.
    path = file.resolve().parent / lock_name(study)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise StudyError(
            f"another process is searching study {study} in {shown(url)}; wait for it, or name another --study"
        ) from error
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
