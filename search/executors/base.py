"""Where training runs: in this process, or in worker processes. Another executor, on a cluster for
example, has to offer the same six members.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.device import keep_freed_memory, limit_threads
from drill_models.train import train
from search.executors.process_pool import ProcessPool
from search.executors.tasks import Ended, Event, Task, Trainer, perform


class Executor(Protocol):
    """Trains several tasks at a time. It knows no study: whoever drives it decides what the events mean."""

    here: bool
    """Whether tasks train in this process, which dies with them."""

    @property
    def free(self) -> int:
        """How many tasks can be submitted now."""

    def submit(self, task: Task) -> None:
        """Begins a task.

        Raises:
            DrillError: Workers die again and again, or cannot be started.
        """

    def stop(self, key: int) -> None:
        """Ends a task before its time: within a batch, without waiting for it. No event of it follows."""

    def events(self, timeout: float) -> list[Event]:
        """What happened since the last call; waits for at most so many seconds where nothing did.

        Raises:
            Interrupted: A task that trains in this process was interrupted.
        """

    def close(self) -> None:
        """Ends everything that still runs."""


class InProcess:
    """Trains one task at a time in this process, an epoch a call of `events`.

    Args:
        data: What to train on.
        backend: What trains.
        should_stop: Asked before each batch.
        trainer: What trains; tests give another.
    """

    here = True

    def __init__(
        self,
        data: ResidentData,
        backend: Backend,
        should_stop: Callable[[], bool],
        trainer: Trainer = train,
    ) -> None:
        self._data = data.to(backend.device)
        self._backend = backend
        self._should_stop = should_stop
        self._trainer = trainer
        self._key: int | None = None
        self._events: Iterator[Event] = iter(())

    @property
    def free(self) -> int:
        """1 while nothing trains."""
        return 1 if self._key is None else 0

    def submit(self, task: Task) -> None:
        """Begins a task; it trains while `events` is called."""
        if self._key is not None:
            raise ValueError(f"task {self._key} still trains")
        self._key = task.key
        self._events = perform(task, self._data, self._backend, self._should_stop, self._trainer)

    def stop(self, key: int) -> None:
        """Drops the task."""
        if key == self._key:
            self._key, self._events = None, iter(())

    def events(self, timeout: float) -> list[Event]:
        """The next event, however long the epoch takes.

        Raises:
            Interrupted: `should_stop` said yes.
        """
        event = next(self._events, None)
        if isinstance(event, Ended):
            self._key = None
        return [] if event is None else [event]

    def close(self) -> None:
        """Drops what still trains."""
        self._key, self._events = None, iter(())


@contextmanager
def open_executor(
    data: ResidentData, backend: Backend, workers: int, should_stop: Callable[[], bool]
) -> Iterator[Executor]:
    """An executor for so many tasks at a time. One on the CPU needs no other process.

    One on a GPU has a process, which is replaced when a task failed, as that may leave it in a bad state.

    Raises:
        DrillError: There is not enough shared memory for the data.
    """
    executor: Executor
    if workers == 1 and backend.device == "cpu":
        limit_threads(1)
        keep_freed_memory()
        executor = InProcess(data, backend, should_stop)
    else:
        executor = ProcessPool(data, backend, workers)
    try:
        yield executor
    finally:
        executor.close()
