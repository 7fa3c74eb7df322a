"""Locks of a database server: a connection holds them, so they go with its process, however that ends."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from drill_models.errors import StudyError
from search.storage.retry import Patience

KINDS = ("postgresql", "mysql", "mariadb")
"""Servers whose locks are known."""

SILENCE = 30
"""Seconds after which a server gives up a connection whose other end is silent: a machine without power, or a
process that is held."""

FIRST_WAIT, LONGEST_WAIT = 0.005, 0.25
"""Seconds between two tries to take a lock that somebody else has; each wait is twice the last."""

PATIENT = 1.0
"""Seconds of waiting after which it is said."""


class LockLost(StudyError):
    """The connection that held a lock broke; somebody else may have had it meanwhile."""

    def __init__(self) -> None:
        super().__init__("the database was gone for a moment; run the same command again")


def _key(name: str) -> int:
    """A number for a name, as servers want it: 64 bits with a sign."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


class ServerLocks:
    """Named locks, one set a database.

    Whoever uses them calls `ping` every few seconds: a server gives up a connection that is silent, and its locks.

    Args:
        url: Of a server, with its password.
        connect_args: Of its driver.
        patience: With a server that is gone.
    """

    def __init__(self, url: URL, connect_args: dict[str, int | str], patience: Patience) -> None:
        self._postgres = url.get_backend_name() == "postgresql"
        self._patience = patience
        self._engine = create_engine(
            url, connect_args=connect_args, isolation_level="AUTOCOMMIT", pool_pre_ping=True
        )
        self._pinged: dict[Connection, threading.Lock] = {}
        self._database = ""

    def connect(self) -> Connection:
        """A connection of its own."""
        connection = self._engine.connect()
        # A machine without power is found out by the keepalives that are set where PostgreSQL's driver connects. A
        # process that is held, as by Ctrl-Z, still answers those; but not this.
        if self._postgres:
            if (connection.dialect.server_version_info or ()) >= (14,):
                connection.execute(text(f"SET idle_session_timeout = '{SILENCE}s'"))
        else:
            connection.execute(text(f"SET SESSION wait_timeout = {SILENCE}"))
            # A PostgreSQL's locks are those of one database, these the whole server's.
            self._database = str(connection.execute(text("SELECT DATABASE()")).scalar())
        return connection

    @contextmanager
    def held(
        self,
        name: str,
        should_stop: Callable[[], bool] = lambda: False,
        waits: Callable[[], None] = lambda: None,
        *,
        at_once: bool = False,
    ) -> Iterator[bool]:
        """Holds a lock; waits for it.

        Args:
            name: Of the lock.
            should_stop: Asked while waiting.
            waits: Called once where somebody else has held it for a second.
            at_once: Do not wait where somebody else has it.

        Yields:
            Whether it is held: false where `should_stop` said yes first, or with `at_once` somebody else has it.

        Raises:
            LockLost: At the end: the server was gone meanwhile.
        """
        connection, has = self._patience.with_(lambda: self._acquired(name, should_stop, waits, at_once))
        mutex = threading.Lock()
        self._pinged[connection] = mutex
        kept = True
        try:
            yield has
        finally:
            with mutex:
                del self._pinged[connection]
                kept = not has or self._released(connection, name)
                with suppress(SQLAlchemyError):
                    connection.close()
        if not kept:
            raise LockLost

    def ping(self) -> None:
        """Lets the server know that the connections that hold locks are still wanted."""
        for connection, mutex in list(self._pinged.items()):
            with mutex, suppress(SQLAlchemyError):
                if connection in self._pinged:
                    connection.execute(text("SELECT 1"))

    def take(self, connection: Connection, name: str) -> bool:
        """Takes a lock on a connection, if nobody else has it; says whether it came.

        Raises:
            SQLAlchemyError: The server is gone.
        """
        if self._postgres:
            return bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), self._of(name)).scalar())
        return bool(connection.execute(text("SELECT GET_LOCK(:key, 0)"), self._of(name)).scalar())

    def taken(self, names: Collection[str]) -> set[str]:
        """Those that some connection holds now."""
        return self._patience.with_(lambda: self._taken(names))

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    def _of(self, name: str) -> dict[str, int | str]:
        """What a server calls a lock."""
        key = _key(f"{self._database}/{name}")
        return {"key": key if self._postgres else f"drill{key}"}

    def _acquired(
        self, name: str, should_stop: Callable[[], bool], waits: Callable[[], None], at_once: bool
    ) -> tuple[Connection, bool]:
        connection = self.connect()
        began, told, wait = time.monotonic(), False, FIRST_WAIT
        try:
            while not should_stop():
                if self.take(connection, name):
                    return connection, True
                if at_once:
                    break
                if not told and time.monotonic() - began > PATIENT:
                    told = True
                    waits()
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        except SQLAlchemyError:
            connection.invalidate()
            connection.close()
            raise
        return connection, False

    def _released(self, connection: Connection, name: str) -> bool:
        """Gives a lock back; says whether it was held all the time."""
        words = "SELECT pg_advisory_unlock(:key)" if self._postgres else "SELECT RELEASE_LOCK(:key)"
        try:
            return bool(connection.execute(text(words), self._of(name)).scalar())
        except SQLAlchemyError:
            connection.invalidate()
            return False

    def _taken(self, names: Collection[str]) -> set[str]:
        with self.connect() as connection:
            if not self._postgres:
                words = text("SELECT IS_USED_LOCK(:key) IS NOT NULL")
                return {name for name in names if connection.execute(words, self._of(name)).scalar()}
            rows = connection.execute(
                text(
                    "SELECT classid::bigint, objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted "
                    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            )
            held = {
                int.from_bytes(((high << 32) | low).to_bytes(8, "big"), "big", signed=True) for high, low in rows
            }
        return {name for name in names if self._of(name)["key"] in held}


def server_locks(url: URL, connect_args: dict[str, int | str], patience: Patience) -> ServerLocks:
    """The locks of a database server.

    Raises:
        StudyError: It is one whose locks are not known.
        NoSuchModuleError: There is no such kind of database.
        ImportError: Its driver is not installed.
    """
    url.get_dialect()
    if url.get_backend_name() not in KINDS:
        raise StudyError(f"studies lie in SQLite, PostgreSQL or MySQL; {url.drivername} is none of them")
    return ServerLocks(url, connect_args, patience)
