"""Reads a study back: which trials count, and what a trial was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from drill_models.result import EpochRecord, last_three_mean
from drill_models.step import Recipe
from search.schema import attributes as attrs
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


def feasible(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials that keep every constraint, in their order."""
    return [trial for trial in complete_trials(study) if all(value <= 0 for value in trial.constraints.values())]


def name_of(trial: FrozenTrial) -> str:
    """The hand step or starting point that a trial is, or empty."""
    return str(trial.user_attrs.get(attrs.BASELINE) or trial.user_attrs.get(attrs.START) or "")


def origin_of(trial: FrozenTrial) -> str:
    """Where a trial's network comes from, in words."""
    if attrs.BASELINE in trial.user_attrs:
        return f"the hand step {trial.user_attrs[attrs.BASELINE]}"
    if attrs.START in trial.user_attrs:
        return f"the package's starting point {trial.user_attrs[attrs.START].split('/')[0]}, made narrow enough"
    return "drawn by the search"


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


def figures(
    trial: FrozenTrial, column: Literal["val_accuracy", "val_loss", "train_loss", "seconds"]
) -> list[float]:
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


def value_of_packed(rows: Sequence[Sequence[float]]) -> float:
    """The same of a curve as it is stored."""
    column = _COLUMNS.index("val_accuracy")
    return last_three_mean([row[column] for row in rows])


def accuracy_of(trial: FrozenTrial) -> float:
    """The value of a complete trial, whatever else its study weighs against it."""
    return float(trial.values[0])
