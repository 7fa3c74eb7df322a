"""`drill-search export` as a person meets it: trials or a step file, as files for other programs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from drill_models.errors import DrillError, Interrupted
from drill_models.files import check_writable, write_bytes, write_text
from drill_models.resolve import DataSource, resolve_itself
from drill_models.result import EpochRecord
from drill_models.run import load
from drill_models.size import check_size
from drill_models.step import Step
from drill_models.weights import unpacked
from search.commands.interrupt import stop_on_signals
from search.config import TrainingOptions
from search.console.console import Screen
from search.console.tables import epoch_line
from search.context import RunContext
from search.executors.machines import open_machines
from search.executors.run_tasks import train_all
from search.executors.tasks import Task
from search.export.formats import ENDINGS
from search.export.step import chosen_best, chosen_front, write_step
from search.names import FormatName
from search.storage.artifacts import WEIGHTS, Artifacts, artifact_folder
from search.study.open import open_to_read, which_storage
from search.text import escaped


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """What is written, and how it is shown.

    Attributes:
        form: The format.
        training: Where data are and what trains, where weights are asked for that were not kept.
        to: The file, or None for one named as the step's.
        screen: Where to say it.
    """

    form: FormatName
    training: TrainingOptions
    to: Path | None
    screen: Screen


def export_trials(
    job: ExportJob, storage: str | None, study: str | None, at_most: Sequence[int], *, front: bool
) -> bool:
    """Exports the best trial of a study, or trials of its front; returns whether it came to its end.

    Raises:
        DrillError: There is no such trial, or something cannot be written.
    """
    with open_to_read(storage, study, job.screen.warning) as opened:
        chosen = chosen_front(opened, at_most) if front or at_most else [chosen_best(opened)]
        artifacts = Artifacts(artifact_folder(which_storage(storage)))
        for one in chosen:
            if job.form == "yaml":
                _written(job, write_step(one, job.to))
                continue
            kept = partial(artifacts.find, opened, one.trial, WEIGHTS)
            if not _export(
                job, one.step, one.path, f"trial {one.trial.number} of study {opened.study_name}", kept
            ):
                return False
    return True


def export_file(job: ExportJob, step: Step, path: Path) -> bool:
    """Exports a step file in another format; returns whether it came to its end.

    Raises:
        DrillError: Something cannot be written.
    """
    if job.form == "yaml":
        raise DrillError(f"{path} is YAML already; name another --format")
    return _export(job, step, path, escaped(path.name), lambda: None)


def _export(job: ExportJob, step: Step, path: Path, origin: str, kept: Callable[[], bytes | None]) -> bool:
    to = job.to if job.to is not None else path.with_suffix(ENDINGS[job.form][0])
    made_by = f"Made by drill-search {version('drill-search')} from {origin}."
    check_writable(to)
    match job.form:
        case "python":
            from search.export.python_file import python_file

            write_text(to, python_file(step, made_by))
        case "notebook":
            from search.export.notebook import notebook

            write_text(to, notebook(step, made_by))
        case "weights" | "onnx" | "torch" as kind:
            from search.export.weights import about, check_libraries, convert, pixel_statistics

            check_size(step)
            check_libraries(kind)
            weights = kept()
            if weights is None:
                try:
                    weights = _train_again(job, step)
                except Interrupted:
                    job.screen.notice("interrupted; nothing was written")
                    return False
            statistics = pixel_statistics(step.dataset, DataSource(folder=job.training.data, offline=True))
            if statistics is None:
                job.screen.notice(
                    f"{step.dataset} is not to be read here, so the file does not say by which mean and deviation "
                    "its images are normalised"
                )
            write_bytes(to, convert(kind, unpacked(weights, step.model), about(step, made_by, statistics)))
        case "yaml":
            raise AssertionError
    _written(job, to)
    return True


def _train_again(job: ExportJob, step: Step) -> bytes:
    """Weights of a step that was trained without keeping them.

    Raises:
        DrillError: It cannot be trained.
        Interrupted: Ctrl-C.
    """
    run = None if step.result is None else step.result.run
    seed = 0 if run is None else run.seed
    full = run is not None and run.held_out == "test"
    source = DataSource(folder=job.training.data, offline=job.training.offline, say=job.screen.notice)
    data = load(resolve_itself(step.dataset, source, f"training {step.name} again"), full=full)
    job.screen.notice(f"no weights of it are kept here; training it again with seed {seed}")

    def on_epoch(task: Task, record: EpochRecord) -> None:
        job.screen.notice(epoch_line(record, step.training.epochs, "test" if full else "val"))

    with (
        stop_on_signals() as should_stop,
        open_machines(job.training) as machines,
        machines.executor(data, 1, should_stop) as executor,
    ):
        (ended,) = train_all(
            [Task(key=0, label=step.name, recipe=step.recipe, seed=seed, weights=True)],
            executor,
            on_epoch=on_epoch,
            context=RunContext(should_stop, job.screen.notice),
        )
    if ended.diverged is not None or ended.weights is None:
        raise DrillError(f"{step.name}: training diverged: {ended.diverged}")
    if run is not None and [r.val_accuracy for r in ended.records] != [r.val_accuracy for r in run.epochs]:
        job.screen.notice("its curve is not the recorded one to the bit: processor, versions or engine differ")
    return ended.weights


def _written(job: ExportJob, path: Path) -> None:
    job.screen.result(f"written to {path}")
