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
from drill_models.errors import Interrupted
from drill_models.train import train
from search.executors.tasks import Ended, Event, Task, Trainer, perform


@dataclass(frozen=True)
class Order:
    """A task with a number that this process was given no other of: keys of tasks come again."""

    number: int
    task: Task


@dataclass(frozen=True)
class Stop:
    """The main process wants no more of an order."""

    number: int


@dataclass(frozen=True)
class Said:
    """What happens in an order."""

    number: int
    event: Event


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
        connection: To the main process: `Order` and `Stop` come, `Said` goes.
        data: In shared memory.
        place: Where to train.
    """
    # Ctrl-C reaches every process of a terminal; the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(place.threads)
    keep_freed_memory()
    if place.backend.device == "cuda":
        try:
            torch.cuda.set_device(place.gpu)
            data = data.to("cuda")
        except RuntimeError as error:  # no memory there, above all
            _refuse(connection, f"GPU {place.gpu} takes no images: {' '.join(str(error).split())[:300]}")
            os._exit(1)
    serve(connection, data, place.backend)
    os._exit(0)  # at once: the interpreter's own end takes seconds on a busy machine, and nothing is to be kept


def serve(connection: Connection, data: ResidentData, backend: Backend, trainer: Trainer = train) -> None:
    """Trains what comes, until the main process is gone."""
    inbox = _Inbox(connection)
    # The main process is gone: nobody is left to say anything to.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            order = inbox.next_order()
            with suppress(Interrupted):
                for event in perform(order.task, data, backend, inbox.stopper(order.number), trainer):
                    connection.send(Said(order.number, event))


def _refuse(connection: Connection, reason: str) -> None:
    """Answers the first order with what is wrong here, which is not the network's fault."""
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        order = _Inbox(connection).next_order()
        connection.send(Said(order.number, Ended(order.task.key, "refused", reason)))


class _Inbox:
    """Reads what the main process sends. An order may come together with the end of the one before it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._orders: deque[Order] = deque()
        self._stopped: set[int] = set()

    def next_order(self) -> Order:
        """The next order; waits for it."""
        while not self._orders:
            self._read()
        return self._orders.popleft()

    def stopper(self, number: int) -> Callable[[], bool]:
        """Says whether an order is to stop, for which it looks into the pipe and does not wait."""

        def should_stop() -> bool:
            while self._connection.poll():
                self._read()
            return number in self._stopped

        return should_stop

    def _read(self) -> None:
        message = self._connection.recv()
        match message:
            case Order():
                self._orders.append(message)
            case Stop(number=number):
                self._stopped.add(number)
            case _:
                raise TypeError(f"a worker understands no {type(message).__name__}")
