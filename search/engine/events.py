"""What a sitting of a search shows: the study once it is open, and then everything that happens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL

from drill_models.backend import Backend
from drill_models.resolve import Resolved
from search.engine.finalists import Rerun
from search.engine.smallest import Candidate
from search.engine.trial_loop import Watcher
from search.engine.warm_start import Seeded
from search.study.study import StudySettings
from spaces.drill import DrillSpace


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A study that is ready to run, for the display.

    Attributes:
        study: The study.
        url: Its storage.
        settings: What it was made with.
        space: What its points mean.
        seeded: What became of the hand steps just now.
        started: Starting points that were queued just now.
        requeued: Trials that a dead process had left running, by number.
        already: Networks trained in earlier sittings.
        backend: What trains trials.
        where: It is, for a person.
        workers: How many at a time.
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


class Display(Watcher, Protocol):
    """Shows a sitting."""

    def notice(self, line: str) -> None:
        """One line, at once."""

    def data_found(self, resolved: Resolved) -> None:
        """Which data set is used."""

    def opened(self, opened: Opened) -> None:
        """The study is there; trials follow."""

    def finals(self, trials: Sequence[FrozenTrial], trainings: int) -> None:
        """Trials are now trained again, so many times together: the best, or one that may hold the target."""

    def rerun(self, rerun: Rerun) -> None:
        """One of them has been."""

    def candidate(self, candidate: Candidate) -> None:
        """It is known whether a network holds the target with every seed."""
