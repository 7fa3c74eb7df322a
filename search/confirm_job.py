"""`drill-search confirm` and `drill-search baselines` as a person meets them: a line a run, then tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from drill_models.device import resolve_backend
from drill_models.errors import DrillError
from drill_models.resolve import DataSource, Resolved
from drill_models.result import EpochRecord
from drill_models.step import Step
from drill_models.step_io import save_step
from drill_models.train import Interrupted
from search.config import TrainingOptions
from search.confirm import Confirmed, Watcher, check_seeds, confirm
from search.confirmed import FILE, ConfirmedRun, ConfirmedRuns
from search.export import step_file, step_six
from search.history import best, ranked
from search.interrupt import stop_on_signals
from search.reading import open_to_read
from search.study import keep_verdict
from search.tables import epoch_line, percent, small_data_box
from search.verdict import compare
from search.verdict_tables import comparison_line, replay_table, verdict_line, verdict_of, verdict_table


@dataclass(frozen=True, kw_only=True)
class ConfirmJob:
    """What is asked of `confirm` and `baselines`.

    Attributes:
        seeds: How many.
        seed: The first.
        training: Data, device and workers.
        epochs: Whether each epoch gets a line, too.
    """

    seeds: int
    seed: int
    training: TrainingOptions
    epochs: bool


def confirm_files(
    steps: Sequence[Step], files: Sequence[Path], job: ConfirmJob, out: Console, err: Console
) -> bool:
    """Makes verdicts of steps and writes them into files.

    Args:
        steps: To be confirmed; each after the first is compared with it.
        files: Where each is written.
        job: How.
        out: For results.
        err: For everything else.

    Returns:
        Whether it came to its end.

    Raises:
        DrillError: One sentence for the user.
    """
    confirmed = _confirm(steps, job, out, err)
    if confirmed is None:
        return False
    for file, each in zip(files, confirmed, strict=True):
        if not each.diverged:
            save_step(file, each.step)
            out.print(f"written to {file}", highlight=False, markup=False, soft_wrap=True)
    _show(confirmed, out)
    return True


def confirm_trials(
    storage: str | None,
    study: str | None,
    top: int,
    to: Path | None,
    job: ConfirmJob,
    out: Console,
    err: Console,
) -> bool:
    """Makes verdicts of a study's best trials, keeps them in the study, and writes each as step 6.

    Args:
        storage: Database URL, or None for the last one used.
        study: Its name, or None for the last one used.
        top: How many trials.
        to: The file of a single trial, or None for the usual one.
        job: How.
        out: For results.
        err: For everything else.

    Returns:
        Whether it came to its end.

    Raises:
        DrillError: One sentence for the user.
    """
    with open_to_read(storage, study) as loaded:
        best(loaded)  # refuses a study without any
        trials = ranked(loaded)[:top]
        confirmed = _confirm([step_six(loaded, trial) for trial in trials], job, out, err)
        if confirmed is None:
            return False
        for trial, each in zip(trials, confirmed, strict=True):
            if each.diverged:
                continue
            keep_verdict(loaded, trial.number, verdict_of(each.step))
            file = to or step_file(loaded.study_name, trial.number if top > 1 else None)
            save_step(file, each.step)
            out.print(f"written to {file}", highlight=False, markup=False, soft_wrap=True)
    _show(confirmed, out)
    return True


def _show(confirmed: Sequence[Confirmed], out: Console) -> None:
    """Verdicts, and how each further step differs from the first.

    Raises:
        DrillError: A step has no verdict.
    """
    have = [each for each in confirmed if not each.diverged]
    if have:
        out.print(verdict_table([each.step for each in have]))
    for each in have:
        out.print(verdict_line(each.step), highlight=False, soft_wrap=True)
    for other in have[1:]:
        first = have[0]
        if len(first.runs) > 1 and first.step.dataset == other.step.dataset:
            found = compare(first.runs, other.runs, first.n_images)
            out.print(comparison_line(first.step, other.step, found), highlight=False, soft_wrap=True)
    if len(have) < len(confirmed):
        said = [
            f"{each.step.name} (seed {', '.join(map(str, each.diverged))})" for each in confirmed if each.diverged
        ]
        raise DrillError(f"no verdict, because training diverged: {'; '.join(said)}")


def replay_baselines(steps: Sequence[Step], job: ConfirmJob, out: Console, err: Console) -> bool:
    """Replays hand steps, and prints what they reported beside it.

    Returns:
        Whether it came to its end.

    Raises:
        DrillError: One sentence for the user.
    """
    confirmed = _confirm(steps, job, out, err)
    if confirmed is None:
        return False
    out.print(replay_table(confirmed))
    for each in confirmed:
        result = each.step.result
        for caveat in result.caveats if result is not None else ():
            out.print(
                f"{each.step.name}, {caveat.kind}: {caveat.text}", highlight=False, markup=False, soft_wrap=True
            )
    return True


def _confirm(steps: Sequence[Step], job: ConfirmJob, out: Console, err: Console) -> tuple[Confirmed, ...] | None:
    """Trains what is missing; None where the user stopped it."""
    training = job.training
    seeds = check_seeds(job.seed, job.seeds)
    backend = resolve_backend(training.device, training.engine, training.precision)
    kept = ConfirmedRuns()
    n = len(steps) * len(seeds)
    done = 0

    def say(line: str) -> None:
        err.print(line, highlight=False, markup=False, soft_wrap=True)

    def on_data(resolved: Resolved) -> None:
        if resolved.instead_of_mnist is not None:
            err.print(small_data_box(resolved.instead_of_mnist))

    def on_epoch(step: Step, seed: int, record: EpochRecord) -> None:
        if job.epochs:
            line = epoch_line(record, step.training.epochs, "test")
            out.print(f"{step.name}  seed {seed}  {line}", highlight=False, soft_wrap=True)

    def on_run(step: Step, run: ConfirmedRun, earlier: bool) -> None:
        nonlocal done
        done += 1
        seconds = sum(record.seconds for record in run.epochs)
        said = (
            f"diverged: {run.diverged}"
            if run.diverged is not None
            else f"{percent(run.accuracies[-1])} in the last epoch, {percent(min(run.accuracies[-5:]))} at least "
            "in the last five"
        )
        when = "from earlier" if earlier else f"{seconds:.0f} s"
        out.print(f"{done}/{n}  {step.name}  seed {run.seed}  {said}  ({when})", highlight=False, soft_wrap=True)

    with stop_on_signals() as should_stop:
        try:
            return confirm(
                steps,
                DataSource(folder=training.data, offline=training.offline, say=say),
                seeds=seeds,
                backend=backend,
                workers=training.workers,
                kept=kept,
                watcher=Watcher(data=on_data, epoch=on_epoch, run=on_run),
                should_stop=should_stop,
            )
        except Interrupted:
            say(f"interrupted; {done} of {n} runs are kept in {FILE}, and the same command goes on")
            return None
