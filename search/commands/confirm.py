"""`drill-search confirm` and `drill-search baselines` as a person meets them: a line a run, then tables."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drill_models.errors import DrillError, Interrupted
from drill_models.files import check_writable
from drill_models.resolve import DataSource
from drill_models.result import EpochRecord, Verdict
from drill_models.run import with_verdict
from drill_models.step import Step
from drill_models.step_io import load_step, save_step
from search.commands.interrupt import stop_on_signals
from search.config import TrainingOptions
from search.console.console import Screen
from search.console.json_output import confirmed_document, replay_document
from search.console.tables import epoch_line, percent
from search.console.verdict_tables import comparison_line, replay_claims, replay_table, verdict_line, verdict_table
from search.context import RunContext
from search.evaluation.confirm import Confirmed, Watcher, confirm
from search.evaluation.run_cache import FILE, ConfirmedRun, ConfirmedRuns
from search.evaluation.statistics import compare
from search.evaluation.verdict_trust import contradicts, says_more
from search.executors.machines import open_machines
from search.executors.run_tasks import seed_range
from search.export.step import step_file, step_six, verdict_in
from search.report.dashboard import publish_verdicts
from search.storage.url import shown
from search.study.open import open_to_read, which_storage
from search.study.ranking import best, ranked
from search.study.study import keep_verdict, kept_verdict
from search.text import counted, harmless, typed


@dataclass(frozen=True, kw_only=True)
class ConfirmJob:
    """What is asked of `confirm` and `baselines`.

    Attributes:
        seeds: How many.
        seed: The first.
        training: Data, device and workers.
    """

    seeds: int
    seed: int
    training: TrainingOptions


def confirm_files(
    steps: Sequence[Step], files: Sequence[Path], to: Path | None, job: ConfirmJob, screen: Screen
) -> bool:
    """Makes verdicts of steps and writes them into files.

    Args:
        steps: Each after the first is compared with it.
        files: Those that they were read from.
        to: Where the verdict of a single one is written, or None for the files themselves.
        job: How.
        screen: Where to say it.

    Returns:
        Whether it came to its end.

    Raises:
        DrillError: One sentence for the user.
    """
    confirmed = _confirm(steps, job, screen)
    if confirmed is None:
        return False
    for file, each in zip(files, confirmed, strict=True):
        if each.diverged:
            continue
        # Training takes a while: what was written into the file meanwhile stays.
        now = load_step(file)
        if now.digest != each.step.digest:
            screen.notice(
                f"{file} was changed while it was trained; it keeps what it has, and the runs are kept in {FILE}"
            )
            continue
        _write(to or file, with_verdict(now, each.step.verdict), screen)
    _show(confirmed, screen)
    return True


def confirm_trials(
    storage: str | None,
    study: str | None,
    top: int,
    to: Path | None,
    job: ConfirmJob,
    screen: Screen,
) -> bool:
    """Makes verdicts of a study's best trials, keeps them in the study, and writes each as step 6.

    Args:
        storage: Database URL, or None for the last one used.
        study: Its name, or None for the last one used.
        top: How many trials.
        to: The file of a single trial, or None for the usual one.
        job: How.
        screen: Where to say it.

    Returns:
        Whether it came to its end.

    Raises:
        DrillError: One sentence for the user.
    """
    with open_to_read(storage, study, screen.warning) as loaded:
        best(loaded)  # refuses a study without any
        trials = ranked(loaded)[:top]
        files = [to or step_file(loaded.study_name, trial.number if top > 1 else None) for trial in trials]
        for file in files:
            check_writable(file)
        confirmed = _confirm([step_six(loaded, trial) for trial in trials], job, screen)
        if confirmed is None:
            return False
        published = {}
        for trial, file, each in zip(trials, files, confirmed, strict=True):
            if each.step.verdict is None:
                continue
            kept = kept_verdict(loaded, trial.number)
            _disagrees(
                f"trial {trial.number} of study {harmless(loaded.study_name)}", kept, each.step.verdict, screen
            )
            if kept is None or not says_more(kept, each.step.verdict):
                kept = each.step.verdict
                keep_verdict(loaded, trial.number, kept)
            published[trial.number] = with_verdict(each.step, kept)
            _write(file, each.step, screen)
        publish_verdicts(loaded, which_storage(storage), published, screen.notice)
        named = ["--study", loaded.study_name]
        if storage is not None:
            named += ["--storage", shown(which_storage(storage))]
    _show(confirmed, screen)
    screen.notice(f"a page on it: {typed(shlex.join(['report', *named]))}")
    return True


def _write(file: Path, step: Step, screen: Screen) -> None:
    """Writes a step with its verdict, unless that of the file says more: no seeds are drawn until one is lucky."""
    old = verdict_in(file)
    _disagrees(file, old, step.verdict, screen)
    if old is not None and says_more(old, step.verdict):
        seeds = counted(old.seeds, "seed")
        screen.notice(f"{file} keeps its verdict of {seeds}; the new runs are kept in {FILE}")
        return
    save_step(file, step)
    screen.result(f"written to {file}")


def _disagrees(where: object, old: Verdict | None, new: Verdict | None, screen: Screen) -> None:
    """Says loudly that a verdict of the same recipe is replaced, because it is not what was just measured."""
    if old is not None and new is not None and old.recipe == new.recipe and contradicts(old, new):
        screen.warning(
            f"{where}: its verdict of {percent(old.mean)} ({counted(old.seeds, 'seed')}) contradicts what was "
            f"measured now, {percent(new.mean)} ({counted(new.seeds, 'seed')}); it is replaced"
        )


def _show(confirmed: Sequence[Confirmed], screen: Screen) -> None:
    """Verdicts, and how each further step differs from the first.

    Raises:
        DrillError: A step has no verdict.
    """
    have = [each for each in confirmed if not each.diverged]
    if have:
        screen.table(verdict_table([each.step for each in have]))
    for each in have:
        screen.result(verdict_line(each.step))
    comparisons = []
    for other in have[1:]:
        first = have[0]
        names = f"{other.step.name} and {first.step.name} are not compared"
        if first.step.dataset != other.step.dataset:
            screen.result(f"{names}: they are of different data sets")
        elif len(first.runs) < 2:
            screen.result(f"{names}: that takes two seeds at least")
        else:
            found = compare(first.runs, other.runs, first.n_images)
            comparisons.append((first.step.name, other.step.name, found))
            screen.result(comparison_line(first.step, other.step, found))
    screen.document(confirmed_document(confirmed, comparisons))
    if len(have) < len(confirmed):
        said = "; ".join(
            f"{each.step.name} (seed {', '.join(map(str, each.diverged))})" for each in confirmed if each.diverged
        )
        raise DrillError(f"no verdict, because training diverged: {said}")


def replay_baselines(steps: Sequence[Step], job: ConfirmJob, screen: Screen) -> bool:
    """Replays hand steps, and prints what they reported beside it.

    Returns:
        Whether it came to its end.

    Raises:
        DrillError: One sentence for the user.
    """
    confirmed = _confirm(steps, job, screen)
    if confirmed is None:
        return False
    claims = replay_claims(confirmed)
    screen.table(replay_table(confirmed, claims))
    for each in confirmed:
        result = each.step.result
        for caveat in result.caveats if result is not None else ():
            screen.result(f"{each.step.name}, {caveat.kind}: {caveat.text}")
    screen.document(replay_document(confirmed, claims))
    return True


def _confirm(steps: Sequence[Step], job: ConfirmJob, screen: Screen) -> tuple[Confirmed, ...] | None:
    """Trains what is missing; None where the user stopped it."""
    training = job.training
    seeds = seed_range(job.seed, job.seeds)
    check_writable(FILE)
    kept = ConfirmedRuns()
    n = len(steps) * len(seeds)
    done = 0

    def on_epoch(step: Step, seed: int, record: EpochRecord) -> None:
        if screen.verbose:
            screen.progress(f"{step.name}  seed {seed}  {epoch_line(record, step.training.epochs, 'test')}")

    def on_run(step: Step, run: ConfirmedRun, earlier: bool) -> None:
        nonlocal done
        done += 1
        last = run.accuracies[-5:]
        what = f"diverged: {run.diverged}"
        if run.diverged is None:
            what = f"{percent(last[-1])} in the last epoch, {percent(min(last))} at least in the last {len(last)}"
        when = "from earlier" if earlier else f"{sum(record.seconds for record in run.epochs):.0f} s"
        screen.progress(f"{done}/{n}  {step.name}  seed {run.seed}  {what}  ({when})")

    with stop_on_signals() as should_stop, open_machines(training) as machines:
        try:
            return confirm(
                steps,
                DataSource(folder=training.data, offline=training.offline, say=screen.notice),
                seeds=seeds,
                machines=machines,
                kept=kept,
                watcher=Watcher(epoch=on_epoch, run=on_run),
                context=RunContext(should_stop, screen.notice),
            )
        except Interrupted:
            screen.notice(f"interrupted; {done} of {n} runs are kept in {FILE}, and the same command goes on")
            return None
