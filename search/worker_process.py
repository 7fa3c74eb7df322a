"""What a worker process does: trains the tasks that come through its pipe, and says what happens.

It owns nothing: it may be killed at any time, and it ends by itself when the main process is gone.
"""

import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.device import keep_freed_memory
from drill_models.train import Interrupted, train
from search.tasks import Task, Trainer, perform


@dataclass(frozen=True)
class Stop:
    """The main process wants no more of a task."""

    key: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker trains.

    Attributes:
        backend: What trains.
        gpu: Number of the GPU; without meaning on the CPU.
        threads: Of PyTorch.
    """

    backend: Backend
    gpu: int
    threads: int


def main(connection: Connection, data: ResidentData, place: Place) -> None:
    """A worker's whole life.

    Args:
        connection: To the main process: `Task` and `Stop` come, events go.
        data: In shared memory.
        place: Where to train.
    """
    # Ctrl-C reaches every process of a terminal; the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(place.threads)
    keep_freed_memory()
    if place.backend.device == "cuda":
        torch.cuda.set_device(place.gpu)
        data = data.to("cuda")
    serve(connection, data, place.backend)
    os._exit(0)  # at once: the interpreter's own end takes seconds on a busy machine, and nothing is to be kept


def serve(connection: Connection, data: ResidentData, backend: Backend, trainer: Trainer = train) -> None:
    """Trains what comes, until the main process is gone."""
    inbox = _Inbox(connection)
    # The main process is gone: nobody is left to say anything to.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = inbox.next_task()
            with suppress(Interrupted):
                for event in perform(task, data, backend, inbox.stopper(task.key), trainer):
                    connection.send(event)


class _Inbox:
    """Reads what the main process sends. A task may come together with the end of the one before it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tasks: deque[Task] = deque()
        self._stopped: set[int] = set()

    def next_task(self) -> Task:
        """The next task; waits for it."""
        while not self._tasks:
            self._read()
        return self._tasks.popleft()

    def stopper(self, key: int) -> Callable[[], bool]:
        """Says whether a task is to stop, for which it looks into the pipe and does not wait."""

        def should_stop() -> bool:
            while self._connection.poll():
                self._read()
            return key in self._stopped

        return should_stop

    def _read(self) -> None:
        message = self._connection.recv()
        match message:
            case Task():
                self._tasks.append(message)
            case Stop(key=key):
                self._stopped.add(key)
            case _:
                raise TypeError(f"a worker understands no {type(message).__name__}")
