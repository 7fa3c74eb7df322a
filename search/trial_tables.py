"""Tables of trials: the best five, and the hand steps."""

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from drill_models.result import EpochRecord
from search import attrs
from search.export import chain
from search.history import accuracy_of, baselines, curve, front, packed_figures, point_of, ranked
from search.study import read_settings, read_space
from search.tables import new_table, percent
from spaces.drill import DrillSpace

BEST = 5


def best_table(study: optuna.Study) -> Table:
    """The best five complete trials."""
    dataset = read_settings(study).dataset
    table = new_table(
        "trial", "network", "parameters", "value", "best epoch", "epochs",
        title=f"Best {BEST} on {dataset} (value: validation accuracy, mean of the last three epochs)", left=2,
    )  # fmt: skip
    space = read_space(study)
    for trial in ranked(study)[:BEST]:
        table.add_row(*_cells(trial, space))
    return table


def front_table(study: optuna.Study) -> Table:
    """The networks that no other beats with as few parameters."""
    dataset = read_settings(study).dataset
    table = new_table(
        "trial", "network", "parameters", "value", "best epoch", "epochs",
        title=f"Best of every size on {dataset} (value: validation accuracy, mean of the last three epochs)",
        left=2,
    )  # fmt: skip
    space = read_space(study)
    for trial in front(study):
        table.add_row(*_cells(trial, space))
    return table


def baseline_table(study: optuna.Study) -> Table:
    """The hand steps that were queued, beside what their authors reported."""
    dataset = read_settings(study).dataset
    table = new_table(
        "hand step", "network", "parameters", "value", "best epoch", "epochs", "reported*",
        title=f"Hand steps on {dataset}", left=2,
    )  # fmt: skip
    table.caption = (
        "* best test accuracy of all epochs, on MNIST, chosen on the test set by its author; "
        "not comparable with a validation value"
    )
    table.caption_justify = "left"
    space = read_space(study)
    for trial in baselines(study):
        _, *cells = _cells(trial, space)
        reported = trial.user_attrs.get(attrs.REPORTED)
        table.add_row(str(trial.user_attrs[attrs.BASELINE]), *cells, percent(reported))
    return table


def _cells(trial: FrozenTrial, space: DrillSpace) -> list[str]:
    records = curve(trial)
    return [
        trial_name(trial),
        chain(space.model(point_of(trial))),
        f"{trial.user_attrs[attrs.N_PARAMS]:,}",
        _value(trial),
        _best_epoch(records),
        str(len(records)) if records else "-",
    ]


def trial_name(trial: FrozenTrial) -> str:
    """A trial's number, with the hand step or starting point that it is."""
    name = trial.user_attrs.get(attrs.BASELINE) or trial.user_attrs.get(attrs.START)
    return f"{trial.number}" if name is None else f"{trial.number} ({name})"


def _value(trial: FrozenTrial) -> str:
    if attrs.OVER_BUDGET in trial.user_attrs:
        return "over budget"
    match trial.state:
        case TrialState.COMPLETE:
            return percent(accuracy_of(trial))
        case TrialState.PRUNED:
            accuracies, _ = packed_figures(trial)
            return f"stopped at {percent(accuracies[-1] if accuracies else None)}"
        case TrialState.FAIL:
            return "failed"
        case TrialState.RUNNING:
            return "running"
    return "waiting"


def _best_epoch(records: tuple[EpochRecord, ...]) -> str:
    if not records:
        return "-"
    best = max(records, key=lambda record: record.val_accuracy)
    return f"{best.epoch} ({percent(best.val_accuracy)})"
