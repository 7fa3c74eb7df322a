"""Observers of a session: one that does nothing, and one that tells several."""

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial

from drill_models.backend import Environment
from drill_models.resolve import Resolved
from drill_models.result import EpochRecord
from search.engine.events import Observer, Opened, Outcome
from search.engine.finalists import Rerun
from search.engine.smallest import Candidate


class NullObserver:
    """Does nothing. Others begin here, and say only what they care for."""

    def notice(self, line: str) -> None: ...

    def data_found(self, resolved: Resolved) -> None: ...

    def opened(self, opened: Opened) -> None: ...

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None: ...

    def epoch(self, number: int, record: EpochRecord) -> None: ...

    def proposed(self, seconds: float) -> None: ...

    def ending(
        self, trial: optuna.Trial, records: Sequence[EpochRecord], where: Environment, weights: bytes | None
    ) -> None: ...

    def ended(self, trial: FrozenTrial) -> None: ...

    def lost(self, trial: FrozenTrial | None, reason: str) -> None: ...

    def trials_over(self) -> None: ...

    def finals(self, trials: Sequence[FrozenTrial], trainings: int) -> None: ...

    def rerun(self, rerun: Rerun) -> None: ...

    def candidate(self, candidate: Candidate) -> None: ...

    def closing(self, outcome: Outcome) -> None: ...


class Observers:
    """Tells several, each time in the same order.

    Args:
        observers: Who is told.
    """

    def __init__(self, *observers: Observer) -> None:
        self._all = observers

    def notice(self, line: str) -> None:
        for each in self._all:
            each.notice(line)

    def data_found(self, resolved: Resolved) -> None:
        for each in self._all:
            each.data_found(resolved)

    def opened(self, opened: Opened) -> None:
        for each in self._all:
            each.opened(opened)

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None:
        for each in self._all:
            each.started(trial, n_params, epochs)

    def epoch(self, number: int, record: EpochRecord) -> None:
        for each in self._all:
            each.epoch(number, record)

    def proposed(self, seconds: float) -> None:
        for each in self._all:
            each.proposed(seconds)

    def ending(
        self, trial: optuna.Trial, records: Sequence[EpochRecord], where: Environment, weights: bytes | None
    ) -> None:
        for each in self._all:
            each.ending(trial, records, where, weights)

    def ended(self, trial: FrozenTrial) -> None:
        for each in self._all:
            each.ended(trial)

    def lost(self, trial: FrozenTrial | None, reason: str) -> None:
        for each in self._all:
            each.lost(trial, reason)

    def trials_over(self) -> None:
        for each in self._all:
            each.trials_over()

    def finals(self, trials: Sequence[FrozenTrial], trainings: int) -> None:
        for each in self._all:
            each.finals(trials, trainings)

    def rerun(self, rerun: Rerun) -> None:
        for each in self._all:
            each.rerun(rerun)

    def candidate(self, candidate: Candidate) -> None:
        for each in self._all:
            each.candidate(candidate)

    def closing(self, outcome: Outcome) -> None:
        for each in self._all:
            each.closing(outcome)
