"""The main process's side of one worker process: starting it, its pipe, and its death."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from drill_models.data import ResidentData
from drill_models.errors import DrillError
from search.executors.tasks import Ended, Epoch, Event, Lost, Task
from search.executors.worker_main import Order, Place, Said, Stop, main

MAX_KILLS = 30
"""So many times in a row may a worker be killed without finishing an epoch: kills come from outside, and a
machine that runs out of memory kills too."""
MAX_CRASHES = 5
"""So many times in a row may a worker end by itself: the cause is in the program or the machine."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_GRACE = 1.0
"""Seconds that a terminated worker has before it is killed."""


class Worker:
    """One place for a process, the task that it has, and how often it died.

    Args:
        number: From 0.
        data: In shared memory.
        place: Where to train.

    Attributes:
        task: What it trains, or None where it is free.
    """

    def __init__(self, number: int, data: ResidentData, place: Place) -> None:
        self.task: Task | None = None
        self._number = number
        self._data = data
        self._place = place
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._order = 0
        self._deaths = 0
        self._crashes = 0
        self._last_death = ""

    @property
    def runs(self) -> bool:
        """Whether there is a process, as far as is known."""
        return self._process is not None

    def waitables(self) -> list[Connection | int]:
        """What becomes ready when the process says something, or dies."""
        if self._process is None or self._connection is None:
            return []
        return [self._connection, self._process.sentinel]

    def begin(self, task: Task) -> None:
        """Gives it a task, after starting a process where there is none.

        Raises:
            DrillError: It died too often, or no process can be started.
        """
        if self._process is None:
            self._start()
        self.task = task
        self._order += 1
        self._send(Order(self._order, task))

    def drop(self) -> None:
        """Takes its task away; the process learns of it before its next batch."""
        assert self.task is not None
        self._send(Stop(self._order))
        self.task = None

    def read(self) -> list[Event]:
        """What the process said; of a task that was dropped nothing is handed on."""
        assert self._process is not None
        assert self._connection is not None
        events: list[Event] = []
        # Asked first: whatever a dead process said is then already in the pipe.
        alive = self._process.is_alive()
        try:
            while self._connection.poll():
                said: Said = self._connection.recv()
                event = said.event
                if isinstance(event, Epoch):
                    self._deaths = self._crashes = 0
                if self.task is None or said.number != self._order:
                    continue
                events.append(event)
                if isinstance(event, Ended):
                    self.task = None
                    if event.outcome == "failed":
                        # What failed may have left the process in a bad state, a GPU's above all.
                        self.end()
                        self.forget()
                        return events
        except (EOFError, OSError):
            alive = False  # it died, perhaps in the middle of a message
        if not alive:
            events.append(self._died())
        return events

    def end(self) -> None:
        """Tells the process to end at once; it has nothing to lose."""
        if self._process is not None:
            self._process.terminate()

    def forget(self) -> None:
        """Waits until the process that was told to end has ended."""
        if self._process is None or self._connection is None:
            return
        self._process.join(_GRACE)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self._process.close()
        self._connection.close()
        self._process = self._connection = None

    def _died(self) -> Lost:
        assert self._process is not None
        self._process.join(_GRACE)  # its pipe may be closed a moment before it is gone
        code = self._process.exitcode
        self._last_death = _how(code)
        self._deaths += 1
        killed = code is not None and -code in (signal.SIGTERM, getattr(signal, "SIGKILL", None))
        self._crashes += not killed
        self.forget()
        reason = f"worker {self._number + 1} {self._last_death}"
        lost = Lost(None if self.task is None else self.task.key, reason, killed)
        self.task = None
        return lost

    def _start(self) -> None:
        if self._deaths >= MAX_KILLS or self._crashes >= MAX_CRASHES:
            raise DrillError(
                f"worker {self._number + 1} died {self._deaths} times in a row without finishing an epoch; the "
                f"last time it {self._last_death}. If memory is short, use fewer --workers"
            )
        context = get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(
            target=main, args=(theirs, self._data, self._place), name=f"worker {self._number + 1}", daemon=True
        )
        try:
            with _without_ctrl_c(), _threads(self._place.threads):
                process.start()
        except OSError as error:
            mine.close()
            raise DrillError(f"a worker process cannot be started: {error.strerror or error}") from error
        finally:
            theirs.close()
        self._process, self._connection = process, mine

    def _send(self, message: Order | Stop) -> None:
        assert self._connection is not None
        # A process that is gone is noticed by `read`.
        with suppress(OSError):
            self._connection.send(message)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended by itself with code {code}"


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Within it, a process starts with so many threads in every library that asks the environment."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(n)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Within it, a process starts with Ctrl-C blocked, so that none hits it before it can ignore it itself.

    One that comes meanwhile reaches this process afterwards. Where threads have no signal masks (Windows),
    it does nothing.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Started by the first process otherwise, and it would take the block away.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
