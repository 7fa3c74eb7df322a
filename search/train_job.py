"""`drill-search train` as a person meets it: a line an epoch, what came out, and the written file."""

from pathlib import Path

from rich.console import Console

from drill_models.device import resolve_backend
from drill_models.resolve import DataSource, Resolved
from drill_models.result import EpochRecord
from drill_models.step import Step
from drill_models.step_io import save_step
from drill_models.train import Interrupted
from search.config import TrainingOptions
from search.interrupt import stop_on_signals
from search.retrain import comparison, retrain, summary
from search.tables import epoch_line, small_data_box


def run_train_job(
    step: Step,
    *,
    full: bool,
    seed: int | None,
    seeds: int,
    training: TrainingOptions,
    to: Path | None,
    out: Console,
    err: Console,
) -> bool:
    """Trains a step and shows it.

    Args:
        step: What to train.
        full: On all training images, against the test set.
        seed: The first seed, or None for the recorded run's.
        seeds: How many.
        training: Data, device and workers.
        to: The file to write, or None.
        out: For results.
        err: For everything else.

    Returns:
        Whether training came to its end.

    Raises:
        DrillError: One sentence for the user.
    """
    backend = resolve_backend(training.device, training.engine, training.precision)

    def say(line: str) -> None:
        err.print(line, highlight=False, markup=False, soft_wrap=True)

    def on_data(resolved: Resolved) -> None:
        if resolved.instead_of_mnist is not None:
            err.print(small_data_box(resolved.instead_of_mnist))

    def on_epoch(seed: int, record: EpochRecord) -> None:
        which = f"seed {seed}  " if seeds > 1 else ""
        line = epoch_line(record, step.training.epochs, "test" if full else "val")
        out.print(which + line, highlight=False, soft_wrap=True)

    with stop_on_signals() as should_stop:
        try:
            trained = retrain(
                step,
                DataSource(folder=training.data, offline=training.offline, say=say),
                full=full,
                seed=seed,
                seeds=seeds,
                backend=backend,
                workers=training.workers,
                on_data=on_data,
                on_epoch=on_epoch,
                should_stop=should_stop,
            )
        except Interrupted:
            say("interrupted; training a step keeps nothing")
            return False
    for each in trained:
        assert each.result is not None
        assert each.result.run is not None
        run = each.result.run
        out.print(
            f"{run.value:.2%} (mean of the last three epochs), best epoch {run.best_epoch}, {run.seconds:.0f} s, "
            f"seed {run.seed}",
            highlight=False,
        )
    line = comparison(step, trained[0])
    if line is not None:
        which = "the first seed: " if seeds > 1 else ""
        out.print(which + line, highlight=False)
    if seeds > 1:
        out.print(summary(trained), highlight=False, soft_wrap=True)
    if to is not None:
        save_step(to, trained[0])
        out.print(f"written to {to}", highlight=False, markup=False, soft_wrap=True)
    return True
