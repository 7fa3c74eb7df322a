"""The smallest network that holds a target: candidates of a study's front, trained again until one does."""

from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from search.finalists import train_again
from search.history import accuracy_of, front, reruns, standings
from search.workers import Executor
from spaces.drill import DrillSpace

SLACK = 0.001
"""A trial whose mean is further below the target is no candidate: one run's standard error is 0.0008 at 99.4 %."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network of the front that was looked at.

    Attributes:
        trial: The trial.
        values: Mean validation accuracy of the last three epochs, of each seed.
        holds: Whether all of them are at the target.
    """

    trial: FrozenTrial
    values: tuple[float, ...]
    holds: bool


def smallest_that_holds(
    study: optuna.Study,
    target: float,
    space: DrillSpace,
    *,
    seeds: int,
    executor: Executor,
    told: Callable[[Candidate], None],
    say: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> FrozenTrial | None:
    """Trains the front's candidates again, smallest first, until one holds the target with every seed.

    Args:
        study: To read; the new trainings are kept in it.
        target: Validation accuracy, a fraction.
        space: What the study's points mean.
        seeds: How many each, its own run included.
        executor: What trains.
        told: Given each candidate as soon as it is known whether it holds.
        say: Told in a sentence when a worker died.
        should_stop: Asked all the time.

    Returns:
        The trial, or None where no network of the front holds the target.

    Raises:
        DrillError: A run failed.
        Interrupted: `should_stop` said yes; what had ended is kept.
    """
    stand = standings(study)
    for trial in front(study):
        if stand[trial.number].mean < target - SLACK:
            continue
        for _ in train_again(
            study, [trial], space, seeds=seeds - 1, executor=executor, say=say, should_stop=should_stop
        ):
            pass
        values = (accuracy_of(trial), *reruns(study).get(trial.number, {}).values())
        holds = min(values) >= target
        told(Candidate(trial=trial, values=values, holds=holds))
        if holds:
            return trial
    return None
