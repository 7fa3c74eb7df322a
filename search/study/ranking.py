"""Who is best in a study, as far as is known: by one run, or by the mean of several seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from drill_models.errors import StudyError
from drill_models.result import EpochRecord
from search.schema import attributes as attrs
from search.study.trials import (
    accuracy_of,
    complete_trials,
    feasible,
    has_two_values,
    pack_curve,
    value_of,
    value_of_packed,
)


@dataclass(frozen=True)
class Standing:
    """What is known of a complete trial's accuracy.

    Attributes:
        mean: Over its own run and those with other seeds.
        runs: How many those are.
    """

    mean: float
    runs: int

    @property
    def of(self) -> str:
        """What the mean is of, for a person."""
        return "one run" if self.runs == 1 else f"mean of {self.runs} seeds"

    def holds(self, target: float) -> bool:
        """Whether the target holds on the validation images: by the mean, which is what a search knows best."""
        return self.mean >= target


def standings(study: optuna.Study, trials: Iterable[FrozenTrial]) -> dict[int, Standing]:
    """Of those trials that are complete, by number. They are given, because a study grows while it is read."""
    again = reruns(study)
    found = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            values = [accuracy_of(trial), *again.get(trial.number, {}).values()]
            found[trial.number] = Standing(sum(values) / len(values), len(values))
    return found


def standing_of(study: optuna.Study, trial: FrozenTrial) -> Standing:
    """Of a complete trial."""
    return standings(study, [trial])[trial.number]


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials that keep every constraint, best first.

    Where the best were trained with other seeds, they come first, by their means: the best value of many single
    runs is mostly luck. Else, and as soon as a further trial is complete, all are ranked by their own run.
    """
    last = finalists_of(study)
    trials = feasible(study)
    stand = standings(study, trials) if last else {}

    def place(trial: FrozenTrial) -> tuple[bool, float, int]:
        final = trial.number in last
        return not final, -(stand[trial.number].mean if final else accuracy_of(trial)), trial.number

    return sorted(trials, key=place)


def keep_finalists(study: optuna.Study, trials: Sequence[FrozenTrial], top: int = 0, seeds: int = 0) -> None:
    """Keeps which trials were trained with other seeds, once all of them were.

    Args:
        study: Of the trials.
        trials: All that were trained with so many other seeds, ever.
        top: How many were asked for.
        seeds: Other seeds of each.
    """
    complete = len(complete_trials(study))
    numbers = [trial.number for trial in trials]
    study.set_user_attr(attrs.FINALS, {"trials": numbers, "complete": complete, "top": top, "seeds": seeds})


def finals_are_over(study: optuna.Study, top: int, seeds: int) -> bool:
    """Whether so many trials were trained again, and no further one has become complete since."""
    kept = study.user_attrs.get(attrs.FINALS, {})
    over = kept.get("complete") == len(complete_trials(study))
    return bool(over and kept.get("top", 0) >= top and kept.get("seeds", 0) >= seeds)


def finalists_of(study: optuna.Study) -> frozenset[int]:
    """Numbers of those trials; none where further trials have become complete since."""
    kept = study.user_attrs.get(attrs.FINALS)
    if kept is None:
        return frozenset()
    complete = len(complete_trials(study))
    return frozenset(kept["trials"]) if kept["complete"] == complete else frozenset()


def best(study: optuna.Study) -> FrozenTrial:
    """The best trial.

    Raises:
        StudyError: No trial is complete.
    """
    trials = ranked(study)
    if not trials:
        raise StudyError(f"study {study.study_name} has no complete trial yet")
    return trials[0]


def front(study: optuna.Study) -> list[FrozenTrial]:
    """The complete trials that no other beats in accuracy with as few parameters; fewest parameters first.

    By the mean over seeds where a trial was trained with several. Where a whole round of finals was trained in a
    search for every size, others may have been one run's luck and are left out; but those that are smaller than
    all finalists stay, by their own run.
    """
    trials = feasible(study)
    last = finalists_of(study) if has_two_values(study) else frozenset()
    if last:
        smallest = min((trial.user_attrs[attrs.N_PARAMS] for trial in trials if trial.number in last), default=0)
        trials = [t for t in trials if t.number in last or t.user_attrs[attrs.N_PARAMS] < smallest]
    return _front(study, trials)


def front_so_far(study: optuna.Study) -> list[FrozenTrial]:
    """The front of all complete trials, also while finals go on."""
    return _front(study, feasible(study))


def _front(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    mean = {number: standing.mean for number, standing in standings(study, trials).items()}

    def size_then_accuracy(trial: FrozenTrial) -> tuple[int, float, int]:
        return trial.user_attrs[attrs.N_PARAMS], -mean[trial.number], trial.number

    found: list[FrozenTrial] = []
    for trial in sorted(trials, key=size_then_accuracy):
        if not found or mean[trial.number] > mean[found[-1].number]:
            found.append(trial)
    return found


def keep_rerun(study: optuna.Study, number: int, seed: int, records: list[EpochRecord]) -> float | None:
    """Keeps the curve of a trial's training with another seed; returns its value, None where it has none."""
    study.set_user_attr(f"{attrs.RERUN}:{number}:{seed}", pack_curve(records))
    return value_of(records) if records else None


def reruns(study: optuna.Study) -> dict[int, dict[int, float]]:
    """Values of the trainings with other seeds: of each trial, by number, of each seed.

    One that diverged counts as 0.
    """
    found: dict[int, dict[int, float]] = {}
    for key, rows in study.user_attrs.items():
        kind, _, rest = key.partition(":")
        if kind == attrs.RERUN:
            number, _, seed = rest.partition(":")
            found.setdefault(int(number), {})[int(seed)] = value_of_packed(rows) if rows else 0.0
    return found
