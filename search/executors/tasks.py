"""What an executor is given and what it says: a training run, and what happens in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from drill_models.backend import Backend, Environment
from drill_models.data import ResidentData
from drill_models.device import give_back_memory, using_threads
from drill_models.errors import DrillError
from drill_models.networks import Network, environment
from drill_models.result import EpochRecord
from drill_models.step import Recipe
from drill_models.train import Diverged, mistakes, train
from drill_models.weights import packed

MAX_CRASHES = 3
"""So many workers may end by themselves in training one network; then the cause is in it or the machine."""

MAX_KILLS = 25
"""So many workers may be killed in training one network: kills come from outside, and where memory is short."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One training run.

    Attributes:
        key: What its events are told apart by, a trial's number for example.
        recipe: What to train.
        seed: Of the training.
        label: What a person calls it.
        mistakes: Whether to say at the end which held-out images the network gets wrong.
        weights: Whether to give the trained weights at the end.
    """

    key: int
    recipe: Recipe
    seed: int
    label: str = ""
    mistakes: bool = False
    weights: bool = False


@dataclass(frozen=True)
class Began:
    """A task begins to train."""

    key: int
    where: Environment


@dataclass(frozen=True)
class Epoch:
    """A task finished an epoch."""

    key: int
    record: EpochRecord


@dataclass(frozen=True)
class Ended:
    """A task ended by itself.

    Attributes:
        key: The task's.
        outcome: Trained to its last epoch, diverged, failed by an error of the machine, or refused, because what
            was asked for does not go together.
        reason: Of all but the first, for a person.
        mistakes: Positions of the held-out images that the trained network gets wrong, where asked for.
        weights: The trained weights as safetensors, where asked for.
    """

    key: int
    outcome: Literal["complete", "diverged", "failed", "refused"]
    reason: str | None = None
    mistakes: tuple[int, ...] = ()
    weights: bytes | None = None


@dataclass(frozen=True)
class Lost:
    """A worker died, and with it the task that it had, if any: its `key`.

    Attributes:
        key: The task's, or None.
        reason: For a person.
        killed: By a signal from outside, rather than by what it did.
    """

    key: int | None
    reason: str
    killed: bool


Event = Began | Epoch | Ended | Lost


class Trainer(Protocol):
    """`drill_models.train.train`, or a test's stand-in for it."""

    def __call__(
        self,
        recipe: Recipe,
        data: ResidentData,
        *,
        seed: int,
        backend: Backend,
        should_stop: Callable[[], bool],
        keep: Callable[[Network], None],
    ) -> Iterator[EpochRecord]:
        """Trains and yields a record after each epoch."""


def perform(
    task: Task,
    data: ResidentData,
    backend: Backend,
    should_stop: Callable[[], bool],
    trainer: Trainer = train,
) -> Iterator[Event]:
    """Trains a task in this process and says what happens.

    Raises:
        Interrupted: `should_stop` said yes.
    """
    give_back_memory()  # of the task before
    wrong: tuple[int, ...] = ()
    weights: bytes | None = None

    def keep(network: Network) -> None:
        nonlocal wrong, weights
        if task.mistakes:
            wrong = mistakes(network, data.held_out, data)
        if task.weights:
            weights = packed(network.module())

    try:
        where = environment(task.recipe.model, backend)
        yield Began(task.key, where)
        # Own kernels have one thread; so has PyTorch then, or a run would not be the same with more workers.
        with using_threads(where.threads):
            for record in trainer(
                task.recipe, data, seed=task.seed, backend=backend, should_stop=should_stop, keep=keep
            ):
                yield Epoch(task.key, record)
        outcome = Ended(task.key, "complete", mistakes=wrong, weights=weights)
    except Diverged as error:
        outcome = Ended(task.key, "diverged", str(error))
    except DrillError as error:
        outcome = Ended(task.key, "refused", str(error))
    except (RuntimeError, MemoryError) as error:
        outcome = Ended(task.key, "failed", f"{type(error).__name__}: {error}"[:500])
    yield outcome
