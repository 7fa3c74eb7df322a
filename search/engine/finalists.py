"""The best trials, trained again with other seeds, so that the best is not the luckiest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from search.context import RunContext
from search.executors.base import Executor
from search.executors.run_tasks import train_all
from search.executors.tasks import Task
from search.schema import attributes as attrs
from search.study.ranking import front_so_far, keep_rerun, reruns
from search.study.trials import accuracy_of, feasible, has_two_values, recipe_of
from spaces.drill import DrillSpace

SEED_STEP = 1_000_000_007
"""The k-th other seed of a trial is its own plus k times this: no other trial's, whatever their number."""

MAX_FINALISTS = 5
"""So many of the best, unless said otherwise; fewer where a twentieth of the trials is."""


MAX_FRONT = 12
"""So many where every size is sought, unless said otherwise; fewer where a sixth of the trials is."""


def default_finalists(trials: int, *, every_size: bool = False) -> int:
    """How many trials are trained again at the end of a search; one alone would be compared with nobody."""
    number = min(MAX_FRONT, trials // 6) if every_size else min(MAX_FINALISTS, trials // 20)
    return number if number > 1 else 0


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A trial that was trained once more.

    Attributes:
        trial: The trial.
        seed: Of this training.
        value: Its mean validation accuracy of the last three epochs, or None where training diverged.
    """

    trial: FrozenTrial
    seed: int
    value: float | None


def next_finalists(study: optuna.Study, top: int, seeds: int, trained: int = 0) -> list[FrozenTrial]:
    """The trials to train again now: the best by their own run, which are so many; none where that was done.

    Where every size is sought, those of the front, and then those that come onto it because others lost what was
    luck, until all of it has several seeds, or so many trials were trained.

    Args:
        study: Of the trials.
        top: So many at most.
        seeds: How many other seeds each.
        trained: How many were trained again in this round so far.
    """
    if not has_two_values(study):
        best = sorted(feasible(study), key=lambda trial: (-accuracy_of(trial), trial.number))[:top]
        return _unfinished(study, best, seeds)
    waiting = _unfinished(study, front_so_far(study), seeds)
    return sorted(waiting, key=accuracy_of, reverse=True)[: max(0, top - trained)]


def _unfinished(study: optuna.Study, trials: Sequence[FrozenTrial], seeds: int) -> list[FrozenTrial]:
    """Those that were not trained with so many other seeds."""
    missing = {trial.number for trial, _ in left_to_train(study, trials, seeds)}
    return [trial for trial in trials if trial.number in missing]


def evaluated(study: optuna.Study, seeds: int) -> list[FrozenTrial]:
    """The trials that were trained with so many other seeds."""
    trials = feasible(study)
    missing = {trial.number for trial, _ in left_to_train(study, trials, seeds)}
    return [trial for trial in trials if trial.number not in missing]


def other_seeds(trial: FrozenTrial, n: int) -> tuple[int, ...]:
    """The seeds that a trial is trained again with."""
    first: int = trial.user_attrs[attrs.SEED]
    return tuple(first + k * SEED_STEP for k in range(1, n + 1))


def left_to_train(study: optuna.Study, trials: Sequence[FrozenTrial], seeds: int) -> list[tuple[FrozenTrial, int]]:
    """Trials and seeds that they were not yet trained with."""
    there = reruns(study)
    return [
        (trial, seed)
        for trial in trials
        for seed in other_seeds(trial, seeds)
        if seed not in there.get(trial.number, {})
    ]


def train_again(
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    space: DrillSpace,
    *,
    seeds: int,
    executor: Executor,
    context: RunContext,
) -> Iterator[Rerun]:
    """Trains trials with other seeds, as far as that was not done, keeps the curves in the study, and yields each.

    Args:
        study: Of the trials.
        trials: Complete ones.
        space: What their points mean.
        seeds: How many other seeds each.
        executor: What trains.
        context: Told when a worker died, asked all the time whether to stop, and before each training
            whether there is time for it.

    Raises:
        DrillError: A run failed.
        Interrupted: The context said so; what had ended is kept.
        TimeIsUp: There is no time for all; what had begun has ended, and is kept.
    """
    left = left_to_train(study, trials, seeds)
    tasks = [
        Task(
            key=i,
            label=f"trial {trial.number}, seed {seed}",
            recipe=recipe_of(trial, space, trial.user_attrs[attrs.EPOCHS]),
            seed=seed,
        )
        for i, (trial, seed) in enumerate(left)
    ]
    for ended in train_all(tasks, executor, on_epoch=lambda task, record: None, context=context):
        trial, seed = left[ended.task.key]
        records = [] if ended.diverged is not None else list(ended.records)
        value = keep_rerun(study, trial.number, seed, records)
        yield Rerun(trial=trial, seed=seed, value=value)
