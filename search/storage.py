"""Storage URLs: opening, locking, and errors in one sentence. Passwords are never shown."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import filelock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from drill_models.errors import DrillError, Interrupted, StudyError
from drill_models.yaml_io import check_writable
from search.patience import Patience, PatientStorage, cause_of
from search.plain import check_plain, lock_name
from search.server_locks import SILENCE, LockLost, server_locks
from search.together import TogetherStorage

DEFAULT_STORAGE = "sqlite:///studies/drill-search.db"

CONNECT_TIMEOUT = 10
"""Seconds that a database server has to answer."""

ANSWER = 120
"""Seconds that one answer of a MySQL server may take."""


def parse(url: str) -> URL:
    """A storage URL, as SQLAlchemy reads it.

    Raises:
        StudyError: It is not a URL.
    """
    # The text may hold a password, so it is not repeated.
    check_plain("--storage", url)
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StudyError(f"--storage is not a database URL; an example is {DEFAULT_STORAGE}") from error
    if "@" in (found.host or ""):
        raise StudyError("--storage: an @ in a user's name or password is written %40, and a : is %3A")
    return found


_SHOWN = frozenset(
    (
        "application_name channel_binding charset client_encoding connect_timeout dbname gssencmode host hostaddr "
        "keepalives keepalives_count keepalives_idle keepalives_interval load_balance_hosts local_infile mode "
        "options passfile port read_timeout requirepeer service sql_mode sslcert sslcrl sslkey sslmode "
        "sslnegotiation sslrootcert sslsni ssl_ca ssl_cert ssl_check_hostname ssl_key ssl_verify_cert "
        "ssl_verify_identity target_session_attrs tcp_user_timeout timeout unix_socket uri user write_timeout"
    ).split()
)
"""Keys of a URL's query that hold no secret. Any other may, under a name that only its driver knows."""


def without_secrets(url: URL) -> URL:
    """A URL without any password, in whichever place it stood."""
    bare = URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query=url.query,
    )
    return bare.difference_update_query([key for key in url.query if key not in _SHOWN])


def shown(url: URL) -> str:
    """A URL with its passwords hidden."""
    hidden = without_secrets(url)
    if url.password is not None:
        hidden = hidden.set(password="hidden")  # rendered as ***
    return hidden.render_as_string(hide_password=True)


def _secrets(url: URL) -> list[str]:
    """What must not be repeated, the longest first; `1` of an unknown option is no secret."""
    found = [str(url.password)] if url.password else []
    for key, value in url.query.items():
        if key not in _SHOWN:
            values = (value,) if isinstance(value, str) else value
            found += [each for each in values if len(each) > 3]
    return sorted(found, key=len, reverse=True)


def reach(url: URL) -> bool:
    """Checks that a storage answers, or that its file could be made; makes nothing.

    Returns:
        Whether there is a database.

    Raises:
        StudyError: It does not, or could not.
    """
    file = sqlite_file(url)
    if file is not None:
        try:
            check_writable(file)
        except DrillError as error:
            raise StudyError(str(error)) from error
        if not file.exists():
            return False
    with storage_errors(url), _missing_driver(url), _connecting(url):
        engine = create_engine(url, connect_args=connect_args(url))
        with engine.connect() as connection:
            connection.execute(text("SELECT 1" if file is None else "PRAGMA schema_version"))
        engine.dispose()
    return True


def open_storage(url: URL, *, create: bool, patience: Patience | None = None) -> TogetherStorage:
    """Connects to a storage.

    Args:
        url: Where.
        create: Whether a SQLite file, and its folder, may be made.
        patience: With a server that goes away, now or later; without it, that is an error at once. A wrong address
            would be waited for, too: ask `reach` first.

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
            return TogetherStorage(address, engine_kwargs={"connect_args": connect_args(url)})
        # Several processes that make the tables at the same time would trip over each other.
        waits = patience or Patience(seconds=0)
        settings = {"connect_args": connect_args(url), "pool_pre_ping": True}
        with closing(server_locks(url, connect_args(url), waits)) as locks:
            while True:
                with suppress(LockLost), locks.held("tables", waits.should_stop) as has:
                    if not has:
                        raise Interrupted
                    return waits.with_(partial(PatientStorage, address, waits, settings))


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite database, or None for another database and for one in memory.

    Raises:
        StudyError: It is written in a form that is not supported.
    """
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    if str(url.database).startswith("file:"):
        raise StudyError("--storage: SQLite's file: form is not supported; write sqlite:///FOLDER/FILE.db")
    return Path(str(url.database))


def connect_args(url: URL) -> dict[str, int | str]:
    """What a server's driver is told: not to wait for ever for one that is silent, and the server likewise.

    A machine without power closes no connection; what it had locked would stay so for hours.
    """
    match url.get_backend_name(), url.get_driver_name():
        case "postgresql", "psycopg" | "psycopg2":
            pulse = SILENCE // 3
            args: dict[str, int | str] = {
                "connect_timeout": CONNECT_TIMEOUT,
                "keepalives_idle": pulse,
                "keepalives_interval": pulse,
                "keepalives_count": 2,
                "tcp_user_timeout": 1000 * SILENCE,
            }
            if "options" not in url.query:
                told = {
                    "tcp_keepalives_idle": pulse,
                    "tcp_keepalives_interval": pulse,
                    "tcp_keepalives_count": 2,
                    # A process that is held in mid-transaction, as by Ctrl-Z, keeps rows locked that all need.
                    "idle_in_transaction_session_timeout": 1000 * SILENCE,
                }
                args["options"] = " ".join(f"-c {key}={value}" for key, value in told.items())
            return args
        case "mysql" | "mariadb", "pymysql":
            return {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": ANSWER, "write_timeout": ANSWER}
        case "mysql" | "mariadb", "mysqldb":
            return {"connect_timeout": CONNECT_TIMEOUT}
    return {}


@contextmanager
def _missing_driver(url: URL) -> Iterator[None]:
    try:
        yield
    except (ImportError, NoSuchModuleError) as error:
        raise StudyError(
            f"{shown(url)}: no driver for {url.drivername} is installed; install one, for PostgreSQL "
            f"for example 'psycopg[binary]' and a URL that begins with postgresql+psycopg://"
        ) from error


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
        raise StudyError(f"the storage {shown(url)} is damaged: a value in it is no JSON ({error})") from error
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
    for secret in _secrets(url):
        reason = reason.replace(secret, "***")
    first = (reason.strip().splitlines() or [""])[0]
    return f"the storage {shown(url)} failed: {first}"


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
    if sqlite_file(url) is None:
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
