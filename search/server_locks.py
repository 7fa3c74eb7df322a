"""Locks of a database server: a connection holds them, so they go with its process, however that ends."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from drill_models.errors import StudyError
from search.patience import Patience

KINDS = ("postgresql", "mysql", "mariadb")
"""Servers whose locks are known."""

SILENCE = 30
"""Seconds after which a server gives up a connection whose other end is silent: a machine without power."""


class LockLost(StudyError):
    """The connection that held a lock broke; somebody else may have had it meanwhile."""

    def __init__(self) -> None:
        super().__init__("the database was gone for a moment; run the same command again")


def _key(name: str) -> int:
    """A number for a name, as servers want it: 64 bits with a sign."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


class ServerLocks:
    """Named locks, one set a database.

    Args:
        url: Of a server, with its password.
        connect_args: Of its driver.
        patience: With a server that is gone.
    """

    def __init__(self, url: URL, connect_args: dict[str, int], patience: Patience) -> None:
        self._postgres = url.get_backend_name() == "postgresql"
        self._database = url.database or ""
        self._patience = patience
        self._engine = create_engine(
            url, connect_args=connect_args, isolation_level="AUTOCOMMIT", pool_pre_ping=True
        )

    def connect(self) -> Connection:
        """A connection of its own, which the server gives up soon after this process has gone silent."""
        connection = self._engine.connect()
        if self._postgres:
            for setting, value in (("idle", SILENCE // 3), ("interval", SILENCE // 3), ("count", 2)):
                connection.execute(text(f"SET tcp_keepalives_{setting} = {value}"))
        else:
            connection.execute(text(f"SET SESSION wait_timeout = {SILENCE}"))
        return connection

    @contextmanager
    def held(
        self,
        name: str,
        should_stop: Callable[[], bool] = lambda: False,
        waits: Callable[[], None] = lambda: None,
    ) -> Iterator[bool]:
        """Holds a lock; waits for it.

        Args:
            name: Of the lock.
            should_stop: Asked every second.
            waits: Called once where somebody else has held it for a second.

        Yields:
            Whether it is held: false where `should_stop` said yes first.

        Raises:
            LockLost: At the end: the server was gone meanwhile.
        """
        connection, has = self._patience.with_(lambda: self._acquired(name, should_stop, waits))
        try:
            yield has
        finally:
            kept = not has or self._released(connection, name)
            with suppress(SQLAlchemyError):
                connection.close()
        if not kept:
            raise LockLost

    def take(self, connection: Connection, name: str, seconds: int) -> bool:
        """Takes a lock on a connection; waits so many seconds for it at most, and says whether it came.

        Raises:
            SQLAlchemyError: The server is gone.
        """
        key = _key(f"{self._database}/{name}")
        if not self._postgres:
            words = text("SELECT GET_LOCK(:name, :seconds)")
            return bool(connection.execute(words, {"name": f"drill{key}", "seconds": seconds}).scalar())
        if not seconds:
            return bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar())
        connection.execute(text(f"SET lock_timeout = '{seconds}s'"))
        try:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == "55P03" or getattr(error.orig, "pgcode", None) == "55P03":
                return False  # lock_not_available: the time is over
            raise
        return True

    def taken(self, names: Collection[str]) -> set[str]:
        """Those that some connection holds now."""
        return self._patience.with_(lambda: self._taken(names))

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    def _acquired(
        self, name: str, should_stop: Callable[[], bool], waits: Callable[[], None]
    ) -> tuple[Connection, bool]:
        connection = self.connect()
        told = False
        try:
            while not should_stop():
                if self.take(connection, name, seconds=1):
                    return connection, True
                if not told:
                    told = True
                    waits()
        except SQLAlchemyError:
            connection.invalidate()
            connection.close()
            raise
        return connection, False

    def _released(self, connection: Connection, name: str) -> bool:
        """Gives a lock back; says whether it was held all the time."""
        key = _key(f"{self._database}/{name}")
        try:
            if self._postgres:
                return bool(connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key}).scalar())
            return bool(connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": f"drill{key}"}).scalar())
        except SQLAlchemyError:
            connection.invalidate()
            return False

    def _taken(self, names: Collection[str]) -> set[str]:
        keys = {_key(f"{self._database}/{name}"): name for name in names}
        with self._engine.connect() as connection:
            if not self._postgres:
                words = text("SELECT IS_USED_LOCK(:name) IS NOT NULL")
                return {
                    name
                    for key, name in keys.items()
                    if connection.execute(words, {"name": f"drill{key}"}).scalar()
                }
            rows = connection.execute(
                text("SELECT classid::bigint, objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted")
            )
            held = {
                int.from_bytes(((high << 32) | low).to_bytes(8, "big"), "big", signed=True) for high, low in rows
            }
        return {name for key, name in keys.items() if key in held}


def server_locks(url: URL, connect_args: dict[str, int], patience: Patience) -> ServerLocks:
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
