"""The smallest network that holds a target: trials of a study, trained again until one does."""

from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from search import attrs
from search.finalists import other_seeds, train_again
from search.history import accuracy_of, feasible, reruns
from search.workers import Executor
from spaces.drill import DrillSpace


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network that was trained with several seeds.

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
    """Trains complete trials again, smallest first, until one holds the target with every seed.

    Those whose own run, or one that is known already, is below the target are left out; all others are looked at,
    also where a smaller network had more luck.

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
        The trial, or None where no network of the study holds the target.

    Raises:
        DrillError: A run failed.
        Interrupted: `should_stop` said yes; what had ended is kept.
    """

    def values(trial: FrozenTrial) -> tuple[float, ...]:
        known = reruns(study).get(trial.number, {})
        return accuracy_of(trial), *(known[seed] for seed in other_seeds(trial, seeds - 1) if seed in known)

    for trial in sorted(feasible(study), key=lambda trial: (trial.user_attrs[attrs.N_PARAMS], trial.number)):
        if min(values(trial)) < target:
            continue
        for _ in train_again(
            study, [trial], space, seeds=seeds - 1, executor=executor, say=say, should_stop=should_stop
        ):
            pass
        found = values(trial)
        holds = min(found) >= target
        told(Candidate(trial=trial, values=found, holds=holds))
        if holds:
            return trial
    return None
