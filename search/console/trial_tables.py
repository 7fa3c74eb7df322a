"""Tables of trials: the best five, and the hand steps."""

from collections.abc import Iterable, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from drill_models.result import EpochRecord
from search.console.tables import new_table, percent
from search.schema import attributes as attrs
from search.study.manage import Listed
from search.study.phrasing import NOTATION, chain
from search.study.ranking import Standing, front, ranked, standings
from search.study.study import read_settings, read_space
from search.study.trials import baselines, curve, figures, name_of, point_of
from search.text import mean_of_last
from spaces.drill import DrillSpace

BEST = 5


COLUMNS = ("network", "parameters", "value", "seeds", "best epoch", "epochs")


def value_words(epochs: int) -> str:
    """What the value of a trial with so many epochs is."""
    return f"value: validation accuracy, {mean_of_last(epochs)}; mean over its seeds"


CHANCE = 0.15
"""A hand step below this has not learnt its ten classes."""
NOT_LEARNT = "A hand step near 10 %, which is chance, had not begun to learn by the end of its epochs."


def not_learnt(stand: Iterable[Standing]) -> str:
    """What is said where a value is no better than chance; else nothing."""
    return NOT_LEARNT if any(one.mean < CHANCE for one in stand) else ""


def best_table(study: optuna.Study) -> Table:
    """The best five complete trials."""
    best = ranked(study)[:BEST]
    return _table(study, best, f"Best {len(best)}")


def front_table(study: optuna.Study) -> Table:
    """The networks that no other beats with as few parameters."""
    return _table(study, front(study), "Best of every size")


def _table(study: optuna.Study, trials: Sequence[FrozenTrial], which: str) -> Table:
    settings = read_settings(study)
    title = f"{which} on {settings.dataset} ({value_words(settings.epochs)})"
    table = new_table("trial", *COLUMNS, title=title, left=2, spare=("epochs", "seeds", "best epoch"))
    table.caption = NOTATION
    table.caption_justify = "left"
    for row in cells(study, trials):
        table.add_row(*row)
    return table


def cells(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[list[str]]:
    """One row a trial: its name, and what stands under `COLUMNS`."""
    space, stand = read_space(study), standings(study, trials)
    return [[trial_name(trial), *_cells(trial, space, stand)] for trial in trials]


def baseline_table(study: optuna.Study) -> Table:
    """The hand steps that were queued, beside what their authors reported."""
    dataset = read_settings(study).dataset
    table = new_table(
        "hand step",
        *COLUMNS,
        "reported*",
        title=f"Hand steps on {dataset}",
        left=2,
        spare=("epochs", "seeds", "best epoch", "network"),
    )
    table.caption = (
        "* best test accuracy of all epochs, on MNIST, chosen on the test set by its author; "
        "not comparable with a validation value"
    )
    table.caption_justify = "left"
    hand = baselines(study)
    space, stand = read_space(study), standings(study, hand)
    if words := not_learnt(stand.values()):
        table.caption += f". {words}"
    for trial in hand:
        reported = trial.user_attrs.get(attrs.REPORTED)
        table.add_row(str(trial.user_attrs[attrs.BASELINE]), *_cells(trial, space, stand), percent(reported))
    return table


def study_table(studies: Sequence[Listed]) -> Table:
    """One row a study."""
    columns = ("study", "data set", "budget", "objective", "trials", "complete", "best", "parameters")
    table = new_table(*columns, left=1, spare=("objective", "data set", "complete", "parameters"))
    for one in studies:
        table.add_row(
            one.name,
            one.settings.dataset,
            str(one.settings.budget).removesuffix(" parameters"),
            one.settings.objective,
            str(one.counts.trained),
            str(one.counts.complete),
            percent(one.best),
            "-" if one.n_params is None else f"{one.n_params:,}",
        )
    return table


def _cells(trial: FrozenTrial, space: DrillSpace, stand: Mapping[int, Standing]) -> list[str]:
    """What stands under `COLUMNS`."""
    records = curve(trial)
    standing = stand.get(trial.number)
    return [
        chain(space.model(point_of(trial))),
        f"{trial.user_attrs[attrs.N_PARAMS]:,}",
        _value(trial) if standing is None else percent(standing.mean),
        "-" if standing is None else str(standing.runs),
        _best_epoch(records),
        str(len(records)) if records else "-",
    ]


def trial_name(trial: FrozenTrial) -> str:
    """A trial's number, with the hand step or starting point that it is."""
    name = name_of(trial)
    return f"{trial.number} ({name})" if name else f"{trial.number}"


def _value(trial: FrozenTrial) -> str:
    """What is said of a trial that is not complete."""
    if attrs.OVER_BUDGET in trial.user_attrs:
        return "over budget"
    match trial.state:
        case TrialState.PRUNED:
            accuracies = figures(trial, "val_accuracy")
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
