"""`drill-search train` as a person meets it: a line an epoch, what came out, and the written file."""

from pathlib import Path

from drill_models.errors import Interrupted
from drill_models.networks import environment
from drill_models.resolve import DataSource, Resolved
from drill_models.result import EpochRecord
from drill_models.size import check_size
from drill_models.step import Step
from drill_models.step_io import as_document, save_step
from search.commands.interrupt import stop_on_signals
from search.config import TrainingOptions
from search.console.console import Screen
from search.console.tables import epoch_line, small_data_box
from search.context import RunContext
from search.evaluation.retrain import comparison, otherwise, retrain, summary
from search.executors.machines import open_machines
from search.text import mean_of_last


def run_train_job(
    step: Step,
    *,
    full: bool,
    seed: int | None,
    seeds: int,
    training: TrainingOptions,
    to: Path | None,
    screen: Screen,
) -> bool:
    """Trains a step and shows it.

    Args:
        step: What to train.
        full: On all training images, against the test set.
        seed: The first seed, or None for the recorded run's.
        seeds: How many.
        training: Data, device and workers.
        to: The file to write, or None.
        screen: Where to say it.

    Returns:
        Whether training came to its end.

    Raises:
        DrillError: One sentence for the user.
    """

    def on_data(resolved: Resolved) -> None:
        if resolved.instead_of_mnist is not None:
            screen.box(small_data_box(resolved.instead_of_mnist), resolved.instead_of_mnist)

    def on_epoch(seed: int, record: EpochRecord) -> None:
        which = f"seed {seed}  " if seeds > 1 else ""
        line = epoch_line(record, step.training.epochs, "test" if full else "val")
        screen.progress(which + line)

    check_size(step)
    with stop_on_signals() as should_stop, open_machines(training) as machines:
        recorded = None if step.result is None else step.result.run
        if recorded is not None and training.cluster is None:
            changed = otherwise(recorded, environment(step.model, machines.backend))
            if changed:
                screen.notice(
                    f"the recorded run was made otherwise: {'; '.join(changed)}; its curve may not come again"
                )
        try:
            trained = retrain(
                step,
                DataSource(folder=training.data, offline=training.offline, say=screen.notice),
                full=full,
                seed=seed,
                seeds=seeds,
                machines=machines,
                on_data=on_data,
                on_epoch=on_epoch,
                context=RunContext(should_stop, screen.notice),
            )
        except Interrupted:
            screen.notice("interrupted; training a step keeps nothing")
            return False
    for each in trained:
        assert each.result is not None
        assert each.result.run is not None
        run = each.result.run
        screen.result(
            f"{run.value:.2%} on {each.dataset} ({mean_of_last(len(run.epochs))}), best epoch {run.best_epoch}, "
            f"{run.seconds:.0f} s, seed {run.seed}"
        )
    line = comparison(step, trained[0])
    if line is not None:
        which = "the first seed: " if seeds > 1 else ""
        screen.result(which + line)
    if seeds > 1:
        screen.result(summary(trained))
    if to is not None:
        save_step(to, trained[0])
        screen.result(f"written to {to}")
    screen.document([as_document(each) for each in trained])
    return True
