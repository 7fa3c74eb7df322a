"""Reads a study back: which trials count, which is best, what a trial was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from drill_models.errors import StudyError
from drill_models.result import EpochRecord, last_three_mean
from drill_models.step import Recipe
from search import attrs
from spaces.drill import DrillSpace

_COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many trials a study has of each kind.

    Attributes:
        trained: Complete, pruned and failed ones: what `--trials` counts.
        complete: Trained to their last epoch.
        pruned: Stopped early.
        failed: Ended by an error.
        over_budget: Hand steps that were recorded and not trained.
        interrupted: Stopped with their process and queued again.
        waiting: Queued.
        running: Being trained.
    """

    trained: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    over_budget: int = 0
    interrupted: int = 0
    waiting: int = 0
    running: int = 0


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial was stopped with its process and given back.

    One that its process could still end, though it was taken for dead, is marked as interrupted, too, and is not.
    """
    return attrs.INTERRUPTED in trial.user_attrs and trial.state in (TrialState.RUNNING, TrialState.FAIL)


def tally(study: optuna.Study) -> Tally:
    """Counts a study's trials."""
    complete = pruned = failed = over = interrupted = waiting = running = 0
    for trial in study.get_trials(deepcopy=False):
        match trial.state:
            case TrialState.COMPLETE:
                complete += 1
            case TrialState.PRUNED:
                if attrs.OVER_BUDGET in trial.user_attrs:
                    over += 1
                else:
                    pruned += 1
            case TrialState.FAIL:
                if is_interrupted(trial):
                    interrupted += 1
                else:
                    failed += 1
            case TrialState.WAITING:
                waiting += 1
            case TrialState.RUNNING:
                running += 1
    return Tally(
        trained=complete + pruned + failed,
        complete=complete,
        pruned=pruned,
        failed=failed,
        over_budget=over,
        interrupted=interrupted,
        waiting=waiting,
        running=running,
    )


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that ran to their end, in their order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def has_two_values(study: optuna.Study) -> bool:
    """Whether a trial's values are accuracy and parameters, instead of accuracy alone."""
    return len(study.directions) > 1


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


def feasible(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials that keep every constraint, in their order."""
    return [trial for trial in complete_trials(study) if all(value <= 0 for value in trial.constraints.values())]


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


def name_of(trial: FrozenTrial) -> str:
    """The hand step or starting point that a trial is, or empty."""
    return str(trial.user_attrs.get(attrs.BASELINE) or trial.user_attrs.get(attrs.START) or "")


def baselines(study: optuna.Study) -> list[FrozenTrial]:
    """The hand steps of a study, as they were queued, without interrupted attempts; each once.

    One over the budget is recorded twice where a server's answer was lost.
    """
    found: dict[str, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        if attrs.BASELINE in trial.user_attrs and not is_interrupted(trial):
            found.setdefault(trial.user_attrs[attrs.BASELINE], trial)
    return list(found.values())


def pack_curve(records: Sequence[EpochRecord]) -> list[list[float]]:
    """A curve as plain numbers, to be stored with a trial."""
    dumps = [record.model_dump() for record in records]
    return [[dump[column] for column in _COLUMNS] for dump in dumps]


def curve(trial: FrozenTrial) -> tuple[EpochRecord, ...]:
    """The epochs that a trial ran; empty where it never trained."""
    rows: list[list[Any]] = trial.user_attrs.get(attrs.CURVE, [])
    return tuple(EpochRecord.model_validate(dict(zip(_COLUMNS, row, strict=True))) for row in rows)


def keep_rerun(study: optuna.Study, number: int, seed: int, records: list[EpochRecord]) -> float | None:
    """Keeps the curve of a trial's training with another seed; returns its value, None where it has none."""
    study.set_user_attr(f"{attrs.RERUN}:{number}:{seed}", pack_curve(records))
    return value_of(records) if records else None


def reruns(study: optuna.Study) -> dict[int, dict[int, float]]:
    """Values of the trainings with other seeds: of each trial, by number, of each seed.

    One that diverged counts as 0.
    """
    column = _COLUMNS.index("val_accuracy")
    found: dict[int, dict[int, float]] = {}
    for key, rows in study.user_attrs.items():
        kind, _, rest = key.partition(":")
        if kind == attrs.RERUN:
            number, _, seed = rest.partition(":")
            value = last_three_mean([row[column] for row in rows]) if rows else 0.0
            found.setdefault(int(number), {})[int(seed)] = value
    return found


def figures(trial: FrozenTrial, column: Literal["val_accuracy", "val_loss", "train_loss"]) -> list[float]:
    """One figure of each epoch that a trial ran, without making records of them."""
    place = _COLUMNS.index(column)
    rows: list[list[float]] = trial.user_attrs.get(attrs.CURVE, [])
    return [row[place] for row in rows]


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's point, also where it is queued and not yet asked for."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def epochs_of(trial: FrozenTrial, default: int) -> int:
    """Epochs that a trial trains if it is not stopped."""
    epochs: int = trial.user_attrs.get(attrs.EPOCHS, default)
    return epochs


def recipe_of(trial: FrozenTrial, space: DrillSpace, epochs: int) -> Recipe:
    """What a trial trained."""
    return space.decode(point_of(trial), epochs=epochs_of(trial, epochs))


def value_of(records: list[EpochRecord]) -> float:
    """A trial's value: mean validation accuracy of its last three epochs."""
    return last_three_mean([record.val_accuracy for record in records])


def accuracy_of(trial: FrozenTrial) -> float:
    """The value of a complete trial, whatever else its study weighs against it."""
    return float(trial.values[0])
