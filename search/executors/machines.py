"""What trains: this machine, or a cluster. Whoever trains something asks here, and need not know which it is."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.device import default_workers, resolve_backend
from search.config import TrainingOptions
from search.executors.base import Executor, open_executor


class Machines(Protocol):
    """Where networks train."""

    @property
    def backend(self) -> Backend:
        """What trains them."""

    @property
    def where(self) -> str:
        """What a person calls it."""

    @property
    def places(self) -> int:
        """How many train at a time, if there are so many."""

    def executor(
        self, data: ResidentData, workers: int, should_stop: Callable[[], bool]
    ) -> AbstractContextManager[Executor]:
        """An executor for so many networks at a time.

        Raises:
            DrillError: There is no room for the data.
        """


class ThisMachine:
    """Networks train in this process, or in worker processes beside it.

    Args:
        training: What was asked for.

    Raises:
        DrillError: It is not to be had here.
    """

    def __init__(self, training: TrainingOptions) -> None:
        self.backend = resolve_backend(training.device, training.engine, training.precision)
        self.where: str = self.backend.device
        self.places = training.workers or default_workers(self.backend.device)

    def executor(
        self, data: ResidentData, workers: int, should_stop: Callable[[], bool]
    ) -> AbstractContextManager[Executor]:
        """One network at a time needs no other process on the CPU."""
        return open_executor(data, self.backend, workers, should_stop)


@contextmanager
def open_machines(training: TrainingOptions) -> Iterator[Machines]:
    """What was asked for, connected for as long as it is needed.

    Raises:
        DrillError: It is not to be had.
    """
    if training.cluster is None:
        yield ThisMachine(training)
        return
    from search.executors.ray import connected

    with connected(training.cluster, training) as cluster:
        yield cluster
