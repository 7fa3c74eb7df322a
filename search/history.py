"""Reads a study back: which trials count, which is best, what a trial was."""

from dataclasses import dataclass
from typing import Any

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
    """

    trained: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    over_budget: int = 0
    interrupted: int = 0
    waiting: int = 0


def tally(study: optuna.Study) -> Tally:
    """Counts a study's trials."""
    complete = pruned = failed = over = interrupted = waiting = 0
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
                if attrs.INTERRUPTED in trial.user_attrs:
                    interrupted += 1
                else:
                    failed += 1
            case TrialState.WAITING:
                waiting += 1
    return Tally(
        trained=complete + pruned + failed,
        complete=complete,
        pruned=pruned,
        failed=failed,
        over_budget=over,
        interrupted=interrupted,
        waiting=waiting,
    )


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials that keep every constraint, best value first."""
    trials = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if all(value <= 0 for value in trial.constraints.values())
    ]
    return sorted(trials, key=lambda trial: (-_value(trial), trial.number))


def best(study: optuna.Study) -> FrozenTrial:
    """The best trial.

    Raises:
        StudyError: No trial is complete.
    """
    trials = ranked(study)
    if not trials:
        raise StudyError(f"study {study.study_name} has no complete trial yet")
    return trials[0]


def baselines(study: optuna.Study) -> list[FrozenTrial]:
    """The hand steps of a study, as they were queued, without interrupted attempts."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if attrs.BASELINE in trial.user_attrs and attrs.INTERRUPTED not in trial.user_attrs
    ]


def pack_curve(records: list[EpochRecord]) -> list[list[float]]:
    """A curve as plain numbers, to be stored with a trial."""
    dumps = [record.model_dump() for record in records]
    return [[dump[column] for column in _COLUMNS] for dump in dumps]


def curve(trial: FrozenTrial) -> tuple[EpochRecord, ...]:
    """The epochs that a trial ran; empty where it never trained."""
    rows: list[list[Any]] = trial.user_attrs.get(attrs.CURVE, [])
    return tuple(EpochRecord.model_validate(dict(zip(_COLUMNS, row, strict=True))) for row in rows)


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


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
