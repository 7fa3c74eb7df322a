"""What the trial loop works on, and what is told of its trials."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial

from drill_models.backend import Environment
from drill_models.result import EpochRecord
from search.study.coordination import OnlyProcess, Peers
from spaces.budget import Budget
from spaces.drill import DrillSpace


class Watcher(Protocol):
    """What is told of a search while it runs."""

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None:
        """A trial begins to train."""

    def epoch(self, number: int, record: EpochRecord) -> None:
        """The running trial of that number finished an epoch."""

    def ended(self, trial: FrozenTrial) -> None:
        """The trial ended: complete, pruned or failed."""

    def lost(self, trial: FrozenTrial | None, reason: str) -> None:
        """A worker died; the trial that it had, if any, is queued again."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What `run_trials` works on.

    Attributes:
        study: With its sampler and pruner.
        space: What its points mean.
        budget: Checked again before anything is built.
        epochs: Of a trial that does not say otherwise.
        trials: Total to stop at.
        seed: The n-th trial that is drawn trains with `seed + n`, unless it carries its own.
        peers: This process among those that search the study.
        keep: Given a trial that is about to end, complete or stopped early, its epochs, where it trained, and of a
            complete one its weights (safetensors).
        together: Within it the storage holds parameters back, and writes them at once at its end.
        proposed: Told how many seconds a proposal took.
    """

    study: optuna.Study
    space: DrillSpace
    budget: Budget
    epochs: int
    trials: int
    seed: int
    peers: Peers = field(default_factory=OnlyProcess)
    keep: Callable[[optuna.Trial, Sequence[EpochRecord], Environment, bytes | None], None] | None = None
    together: Callable[[], AbstractContextManager[None]] = nullcontext
    proposed: Callable[[float], None] = lambda _: None
