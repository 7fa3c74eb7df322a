"""The smallest network that holds a target: trials of a study, trained again until one does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from search.engine.finalists import other_seeds
from search.schema import attributes as attrs
from search.study.ranking import reruns
from search.study.trials import accuracy_of, feasible


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network that is looked at, because its own run is at the target.

    Attributes:
        trial: The trial.
        values: Mean validation accuracy of the last three epochs, of each of the seeds that count and are known.
        holds: Whether none of them is missing, and all are at the target.
    """

    trial: FrozenTrial
    values: tuple[float, ...]
    holds: bool


def smallest_that_may_hold(study: optuna.Study, target: float, seeds: int) -> Candidate | None:
    """The smallest network of a study of which no training, of the so many seeds that count, was below the target.

    All are looked at, also those behind the front, because a smaller one may have had luck.
    """
    known = reruns(study)
    there = [trial for trial in feasible(study) if accuracy_of(trial) >= target]
    for trial in sorted(there, key=lambda trial: (trial.user_attrs[attrs.N_PARAMS], trial.number)):
        candidate = _candidate(trial, known.get(trial.number, {}), target, seeds)
        if min(candidate.values) >= target:
            return candidate
    return None


def _candidate(trial: FrozenTrial, known: Mapping[int, float], target: float, seeds: int) -> Candidate:
    """What a trial's trainings say of it, as far as they are known."""
    values = (accuracy_of(trial), *(known[seed] for seed in other_seeds(trial, seeds - 1) if seed in known))
    return Candidate(trial=trial, values=values, holds=len(values) == seeds and min(values) >= target)


def smallest_that_holds(
    study: optuna.Study,
    target: float,
    *,
    seeds: int,
    train: Callable[[FrozenTrial], None],
    told: Callable[[Candidate], None],
) -> FrozenTrial | None:
    """Has complete trials trained again, smallest first, until one holds the target with every seed.

    Args:
        study: To read.
        target: Validation accuracy, a fraction.
        seeds: How many each, its own run included.
        train: Trains a trial with its other seeds, as far as that was not done, and keeps that in the study.
        told: Given each candidate as soon as it is known whether it holds.

    Returns:
        The trial, or None where no network of the study holds the target.

    Raises:
        DrillError: A run failed.
        Interrupted: A person stopped `train`; what had ended is kept.
    """
    while (candidate := smallest_that_may_hold(study, target, seeds)) is not None:
        if not candidate.holds:
            trial = candidate.trial
            train(trial)
            candidate = _candidate(trial, reruns(study).get(trial.number, {}), target, seeds)
            assert candidate.holds or min(candidate.values) < target, "a training was not kept"
        told(candidate)
        if candidate.holds:
            return candidate.trial
    return None
