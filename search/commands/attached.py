"""What `drill-search` hangs on a session beside its display: the exported step, trackers, the dashboard."""

from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from drill_models.backend import Environment
from drill_models.result import EpochRecord
from search.config import SearchConfig
from search.engine.events import Opened, Outcome
from search.engine.observers import NullObserver
from search.export.step import export_best, export_smallest
from search.report.dashboard import Publisher
from search.report.trackers import Trackers


class Exporting(NullObserver):
    """Writes what was looked for: the best, or the smallest that holds; where every size is sought, nothing.

    Args:
        config: What is searched.

    Attributes:
        exported: The step file that was written.
        study: The study that is searched, once it is open.
    """

    def __init__(self, config: SearchConfig) -> None:
        self._config = config
        self.exported: Path | None = None
        self.study: str | None = None

    def opened(self, opened: Opened) -> None:
        self.study = opened.study.study_name

    def closing(self, outcome: Outcome) -> None:
        """Writes the trial that was found, not the best of now: other processes may end trials meanwhile."""
        config, study = self._config, outcome.opened.study
        if outcome.found is None:
            return
        if config.hold_seeds is not None:
            self.exported = export_smallest(study, outcome.found, config.target, config.hold_seeds, config.out)
        elif config.objective == "accuracy" or config.out is not None:
            self.exported = export_best(study, config.out, outcome.found)


class Tracking(NullObserver):
    """Tells the trackers of each trial.

    Args:
        config: Which trackers.
        say: Told when one fails.
    """

    def __init__(self, config: SearchConfig, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self._trackers: Trackers | None = None

    def opened(self, opened: Opened) -> None:
        self._trackers = Trackers(self._config.trackers, opened.study, self._say)

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None:
        if self._trackers is not None:
            self._trackers.started(trial)

    def epoch(self, number: int, record: EpochRecord) -> None:
        if self._trackers is not None:
            self._trackers.epoch(number, record)

    def ended(self, trial: FrozenTrial) -> None:
        if self._trackers is not None:
            self._trackers.ended(trial)

    def lost(self, trial: FrozenTrial | None, reason: str) -> None:
        if trial is not None:
            self.ended(trial)

    def trials_over(self) -> None:
        if self._trackers is not None:
            self._trackers.close()


class Publishing(NullObserver):
    """Keeps the files of trials, and brings the dashboard up to date after each.

    Args:
        say: Told if files cannot be written.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._publisher: Publisher | None = None

    def opened(self, opened: Opened) -> None:
        self._publisher = Publisher(opened.study, opened.url, self._say, opened.unless_another)

    def ending(
        self, trial: optuna.Trial, records: Sequence[EpochRecord], where: Environment, weights: bytes | None
    ) -> None:
        if self._publisher is not None:
            self._publisher.keep(trial, records, where, weights)

    def ended(self, trial: FrozenTrial) -> None:
        if self._publisher is not None:
            self._publisher.refresh()

    def closing(self, outcome: Outcome) -> None:
        # Else a person waits for the end; `dashboard` writes what is missing.
        if self._publisher is not None and outcome.finished:
            self._publisher.refresh(now=True)
