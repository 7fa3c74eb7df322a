"""What comes after the trials: the best of them, or the smallest that may hold the target, are trained again."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from search.config import SearchConfig
from search.context import RunContext
from search.engine.events import Observer, Opened
from search.engine.finalists import default_finalists, evaluated, left_to_train, next_finalists, train_again
from search.engine.smallest import smallest_that_holds, smallest_that_may_hold
from search.executors.base import Executor
from search.study.ranking import finals_are_over, keep_finalists
from search.study.trials import feasible, tally


def _top(config: SearchConfig) -> int:
    """How many trials are trained again."""
    if not config.finalist_seeds:
        return 0
    if config.finalists is not None:
        return config.finalists
    return default_finalists(config.trials, every_size=config.objective == "pareto")


def runs_at_once(config: SearchConfig) -> int:
    """Trainings side by side once the trials are over."""
    return config.hold_seeds - 1 if config.hold_seeds else _top(config) * config.finalist_seeds


def trainings_left(config: SearchConfig, study: optuna.Study) -> int:
    """Trainings of the best that would follow if a study's trials were over now.

    Where the smallest that holds a target is looked for, those of the next candidate: how many of them fail is
    not known beforehand.
    """
    if config.hold_seeds:
        candidate = smallest_that_may_hold(study, config.target, config.hold_seeds)
        if candidate is None:
            return config.hold_seeds - 1 if tally(study).trained < config.trials else 0
        return 0 if candidate.holds else config.hold_seeds - len(candidate.values)
    top, seeds = _top(config), config.finalist_seeds
    if not top or finals_are_over(study, top, seeds):
        return 0
    to_come = max(0, top - len(feasible(study)))
    return len(left_to_train(study, next_finalists(study, top, seeds), seeds)) + to_come * seeds


@dataclass(frozen=True)
class Finals:
    """What comes after the trials: some of them are trained again."""

    config: SearchConfig
    opened: Opened
    executor: Executor
    observer: Observer
    context: RunContext

    def best(self) -> None:
        """Trains the best again, unless that was done and no trial has become complete since.

        Raises:
            DrillError: A run failed.
            Interrupted: The context said so.
            TimeIsUp: There is no time for all.
        """
        study, seeds, top = self.opened.study, self.config.finalist_seeds, _top(self.config)
        if finals_are_over(study, top, seeds):
            return
        trained = 0
        while chosen := next_finalists(study, top, seeds, trained):
            trained += len(chosen)
            self._again(chosen, seeds)
        if top:
            keep_finalists(study, evaluated(study, seeds), top, seeds)

    def smallest(self) -> FrozenTrial | None:
        """Looks for the smallest network that holds the target.

        Raises:
            DrillError: A run failed.
            Interrupted: The context said so.
            TimeIsUp: There is no time for all.
        """
        seeds = self.config.hold_seeds or 1
        return smallest_that_holds(
            self.opened.study,
            self.config.target,
            seeds=seeds,
            train=lambda trial: self._again([trial], seeds - 1),
            told=self.observer.candidate,
        )

    def _again(self, trials: Sequence[FrozenTrial], seeds: int) -> None:
        """Trains trials with so many other seeds, and shows it."""
        self.observer.finals(trials, len(left_to_train(self.opened.study, trials, seeds)))
        for rerun in train_again(
            self.opened.study,
            trials,
            self.opened.space,
            seeds=seeds,
            executor=self.executor,
            context=self.context,
        ):
            self.observer.rerun(rerun)
