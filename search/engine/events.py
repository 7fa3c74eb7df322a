"""What a session of a search tells those who observe it: the study once it is open, and then all that happens.

Display, dashboard, trackers and export hang on the engine by this alone; it imports none of them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL

from drill_models.backend import Backend, Environment
from drill_models.resolve import Resolved
from drill_models.result import EpochRecord
from search.engine.finalists import Rerun
from search.engine.job import Watcher
from search.engine.smallest import Candidate
from search.engine.warm_start import Seeded
from search.names import SamplerName
from search.study.study import StudySettings
from spaces.drill import DrillSpace


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A study that is ready to run.

    Attributes:
        study: The study.
        url: Its storage.
        settings: What it was made with.
        space: What its points mean.
        seeded: What became of the hand steps just now.
        started: Starting points that were queued just now.
        requeued: Trials that a dead process had left running, by number.
        already: Networks trained in earlier sittings.
        sampler: What proposes.
        backend: What trains trials.
        where: It is, for a person.
        workers: How many at a time.
        unless_another: Of several processes, within it one at a time does a thing; gives whether it is this one.
    """

    study: optuna.Study
    url: URL
    settings: StudySettings
    space: DrillSpace
    seeded: Seeded
    started: tuple[str, ...]
    requeued: list[int]
    already: int
    backend: Backend
    where: str
    workers: int
    sampler: SamplerName = "tpe"
    unless_another: Callable[[str], AbstractContextManager[bool]] = lambda what: nullcontext(True)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a session ended.

    Attributes:
        finished: False where it was interrupted.
        opened: The study.
        trials: Networks that were to be trained in total.
        found: The trial that was looked for: the best, or the smallest that holds the target; None where there is
            none.
        smallest: Whether the smallest was.
        looked: Whether all trials were there, so that the best, or the smallest, could be trained again.
    """

    finished: bool
    opened: Opened
    trials: int
    found: FrozenTrial | None
    smallest: bool
    looked: bool


class Observer(Watcher, Protocol):
    """What is told of a session."""

    def notice(self, line: str) -> None:
        """One line for a person, at once."""

    def data_found(self, resolved: Resolved) -> None:
        """Which data set is used."""

    def opened(self, opened: Opened) -> None:
        """The study is there; trials follow."""

    def proposed(self, seconds: float) -> None:
        """A proposal took so long."""

    def ending(
        self, trial: optuna.Trial, records: Sequence[EpochRecord], where: Environment, weights: bytes | None
    ) -> None:
        """A trial is about to end, complete or stopped early: the last moment at which it takes files.

        Args:
            trial: Still running.
            records: Its epochs.
            where: Where it trained.
            weights: Of a complete one (safetensors).
        """

    def trials_over(self) -> None:
        """No trial runs any more, and none follows in this session."""

    def finals(self, trials: Sequence[FrozenTrial], trainings: int) -> None:
        """Trials are now trained again, so many times together: the best, or one that may hold the target."""

    def rerun(self, rerun: Rerun) -> None:
        """One of them has been."""

    def candidate(self, candidate: Candidate) -> None:
        """It is known whether a network holds the target with every seed."""

    def closing(self, outcome: Outcome) -> None:
        """The session ends; its study is still held."""
