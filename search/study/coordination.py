"""The main processes that search one study: whose turn it is to propose, and who of them is gone.

On a SQLite file there is one. On a database server any number join; locks of the server tell them apart, so
nothing depends on clocks, and a process that is killed leaves nothing behind.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from drill_models.errors import Interrupted
from search.schema import attributes as attrs
from search.storage.advisory_locks import LockLost, ServerLocks, server_locks
from search.storage.retry import Patience
from search.storage.storage import sole_owner
from search.storage.url import connect_args
from search.study.requeue import end_doubles, queue_lost, requeue

PULSE = 2.0
"""Seconds after which a process looks whether it still holds the lock that says that it lives."""

GRACE = 10.0
"""Seconds for which a process may be without that lock: after a restart of the server all are for a moment."""


class Peers(Protocol):
    """This main process among those of its study."""

    mark: str
    """What its trials carry, so that they are known for its own."""

    def turn(self) -> AbstractContextManager[object]:
        """Within it no other process proposes, queues or ends trials that are not its own.

        Raises:
            Interrupted: The user stopped it while another process had its turn.
            LockLost: At the end: another process may have had its turn meanwhile.
        """

    def alone(
        self, what: str, should_stop: Callable[[], bool], waits: Callable[[], None]
    ) -> AbstractContextManager[bool]:
        """Within it no other process does a thing that one is enough for.

        Waits while another does it, and says so by `waits`; gives whether it came to it before `should_stop`.
        """

    def unless_another(self, what: str) -> AbstractContextManager[bool]:
        """Within it no other process does a thing; gives whether none does already, and does not wait."""

    def requeue_dead(self, study: optuna.Study) -> list[int]:
        """Queues the points of trials whose processes are gone; returns their numbers. To be called in a turn."""


class OnlyProcess:
    """The one process of a study in a SQLite file, or in memory."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Always."""
        yield

    @contextmanager
    def alone(self, what: str, should_stop: Callable[[], bool], waits: Callable[[], None]) -> Iterator[bool]:
        """Always."""
        yield True

    @contextmanager
    def unless_another(self, what: str) -> Iterator[bool]:
        """Always."""
        yield True

    def requeue_dead(self, study: optuna.Study) -> list[int]:
        """Whatever runs and is not of this sitting."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return _requeue(study, [trial for trial in running if trial.user_attrs.get(attrs.OWNER) != self.mark])


class ServerPeers:
    """One of several processes that share a study in a database server.

    Args:
        locks: Of the server.
        study: Name of the study.
        should_stop: Asked while another process has its turn.
    """

    def __init__(self, locks: ServerLocks, study: str, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._should_stop = should_stop
        self.mark = secrets.token_hex(8)
        self._locks = locks
        self._study = study
        self._missing: dict[str, float] = {}
        self._looked = 0.0
        self._ends = threading.Event()
        self._alive = threading.Event()
        self._thread = threading.Thread(target=self._live, name="sign of life", daemon=True)

    def __enter__(self) -> "ServerPeers":
        self._thread.start()
        self._alive.wait(GRACE)
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join(GRACE)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within it no other process proposes."""
        with self._locks.held(f"{self._study}/turn", self._should_stop) as has:
            if not has:
                raise Interrupted
            yield

    @contextmanager
    def alone(self, what: str, should_stop: Callable[[], bool], waits: Callable[[], None]) -> Iterator[bool]:
        """Within it no other process does a thing, unless the server is gone meanwhile: then two may."""
        with suppress(LockLost), self._locks.held(f"{self._study}/{what}", should_stop, waits) as has:
            yield has

    @contextmanager
    def unless_another(self, what: str) -> Iterator[bool]:
        """Within it no other process does a thing, unless the server is gone meanwhile."""
        with suppress(LockLost), self._locks.held(f"{self._study}/{what}", at_once=True) as has:
            yield has

    def requeue_dead(self, study: optuna.Study) -> list[int]:
        """Trials of processes that showed no sign of life for a while, or that died before they marked theirs."""
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        gone = self._gone(_marks(running) - {self.mark})
        end_doubles(study)
        queue_lost(study)
        return _requeue(study, [trial for trial in running if trial.user_attrs.get(attrs.OWNER) in gone | {None}])

    def _gone(self, marks: set[str]) -> set[str]:
        """Those that hold no lock now, and held none when they were looked at a while ago."""
        before, now = self._looked, time.monotonic()
        self._looked = now
        missing = marks - self._alive_of(marks)
        self._missing = {mark: self._missing.get(mark, now) for mark in missing}
        gone = {mark for mark, since in self._missing.items() if now - since >= GRACE}
        if gone and now - before > 2 * PULSE:
            # The looks were far apart: it may have been there between two short gaps.
            time.sleep(1.5 * PULSE)
            gone -= self._alive_of(gone)
        return gone

    def _alive_of(self, marks: set[str]) -> set[str]:
        signs = {self._sign(mark): mark for mark in marks}
        return {signs[sign] for sign in self._locks.taken(signs)} if signs else set()

    def _sign(self, mark: str) -> str:
        return _sign(self._study, mark)

    def _live(self) -> None:
        """Holds the lock that says that this process lives; takes it again when the server was gone."""
        connection: Connection | None = None
        while not self._ends.is_set():
            try:
                if connection is None:
                    connection = self._locks.connect()
                    if self._locks.take(connection, self._sign(self.mark)):
                        self._alive.set()
                    else:
                        raise SQLAlchemyError  # an old connection of this process still has it
                connection.execute(text("SELECT 1"))
                self._locks.ping()
            except SQLAlchemyError:
                _drop(connection)
                connection = None
            self._ends.wait(PULSE)
        _drop(connection)


def searched_now(url: URL, study: optuna.Study) -> bool:
    """Whether processes on a server train for a study now; false of SQLite, whose owner has a lock."""
    if url.get_backend_name() == "sqlite":
        return False
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    signs = [_sign(study.study_name, mark) for mark in _marks(running)]
    # While the best are trained again, no trial runs.
    with closing(server_locks(url, connect_args(url), Patience(seconds=0))) as locks:
        return bool(locks.taken([*signs, f"{study.study_name}/finals"]))


def _marks(trials: Sequence[FrozenTrial]) -> set[str]:
    """Of the processes that train them."""
    return {str(trial.user_attrs[attrs.OWNER]) for trial in trials if attrs.OWNER in trial.user_attrs}


def _sign(study: str, mark: str) -> str:
    """The lock that says that a process lives."""
    return f"{study}/lives/{mark}"


def _requeue(study: optuna.Study, dead: Sequence[FrozenTrial]) -> list[int]:
    for trial in dead:
        requeue(study, trial, died=True)
    return [trial.number for trial in dead]


def _drop(connection: Connection | None) -> None:
    """Closes a connection for good, and its locks with it."""
    if connection is not None:
        with suppress(SQLAlchemyError):
            connection.invalidate()
            connection.close()


@contextmanager
def open_peers(url: URL, study: str, patience: Patience) -> Iterator[Peers]:
    """This process among those that search a study.

    Raises:
        StudyError: Another process holds a SQLite study, or the database is neither SQLite nor a known server.
    """
    if url.get_backend_name() == "sqlite":
        with sole_owner(url, study):
            yield OnlyProcess()
        return
    locks = server_locks(url, connect_args(url), patience)
    try:
        with ServerPeers(locks, study, patience.context.should_stop) as peers:
            yield peers
    finally:
        locks.close()
