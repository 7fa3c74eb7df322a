"""Step 6: the best trial of a study as a step file."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from drill_models.backend import Environment
from drill_models.count import count
from drill_models.errors import DrillError, StudyError
from drill_models.result import Caveat, EpochRecord, Result, Verdict
from drill_models.run import recorded_run, with_verdict
from drill_models.step import Step, Target
from drill_models.step_io import SCHEMA_FILE, dump_step, load_step, save_step
from search.export.analysis import analysis_of
from search.schema import attributes as attrs
from search.study.caveats import SMALL_DATA, STARTING_POINT
from search.study.ranking import best, front
from search.study.study import StudySettings, kept_verdict, read_settings, read_space
from search.study.trials import curve, recipe_of
from search.text import file_name, harmless
from spaces.drill import DrillSpace

FOLDER = Path("studies")


@dataclass(frozen=True)
class Chosen:
    """A trial that is exported.

    Attributes:
        trial: Which.
        step: It as a step.
        path: Where its step file is written, if nothing else is said.
    """

    trial: FrozenTrial
    step: Step
    path: Path


def chosen_best(study: optuna.Study, trial: FrozenTrial | None = None) -> Chosen:
    """The best trial of a study; which one, where that is known already.

    Raises:
        DrillError: No trial is complete.
    """
    if trial is None:
        trial = best(study)
    return Chosen(trial, step_six(study, trial), step_file(study.study_name))


def chosen_front(study: optuna.Study, at_most: Sequence[int] = ()) -> list[Chosen]:
    """Trials of the front.

    Args:
        study: To read.
        at_most: For each number the most accurate network with at most so many parameters; without any, every
            network of the front.

    Raises:
        DrillError: No complete trial is as small.
    """
    best(study)  # refuses a study without a complete trial
    points, settings = front(study), read_settings(study)
    chosen = [(point, point.user_attrs[attrs.N_PARAMS]) for point in points]
    if at_most:
        # Of several limits that one network keeps, the least is its target.
        chosen = [(_within(points, limit), limit) for limit in sorted(at_most, reverse=True)]
    found: dict[int, Chosen] = {}
    for trial, limit in chosen:
        target = _highest(settings, min(limit, settings.max_params))
        found[trial.number] = Chosen(trial, step_six(study, trial, target), numbered_file(study.study_name, trial))
    return list(found.values())


def write_step(chosen: Chosen, out: Path | None = None) -> Path:
    """Writes a trial as a step file; returns where.

    Args:
        chosen: The trial.
        out: The file; None for the trial's own.

    Raises:
        DrillError: The file cannot be written.
    """
    path = out if out is not None else chosen.path
    save_step(path, _with_older_verdict(chosen.step, path))
    return path


def export_best(study: optuna.Study, out: Path | None = None, trial: FrozenTrial | None = None) -> Path:
    """Writes the best trial of a study as a step file; returns where.

    Args:
        study: To read.
        out: The file; None for the study's own.
        trial: The best, where it is known; others may end trials meanwhile.

    Raises:
        DrillError: No trial is complete, or the file cannot be written.
    """
    return write_step(chosen_best(study, trial), out)


def export_smallest(
    study: optuna.Study, trial: FrozenTrial, accuracy: float, seeds: int, out: Path | None
) -> Path:
    """Writes the smallest network that holds an accuracy as a step file; returns where.

    Raises:
        DrillError: The file cannot be written.
    """
    settings = read_settings(study)
    target = Target(
        purpose=f"The fewest parameters with which every one of {seeds} seeds reaches {accuracy:.2%}.",
        accuracy=accuracy,
        max_params=settings.max_params,
        epochs=settings.epochs,
    )
    return write_step(Chosen(trial, step_six(study, trial, target), numbered_file(study.study_name, trial)), out)


def _highest(settings: StudySettings, max_params: int) -> Target:
    """The target of a network that is the most accurate of its size."""
    return Target(
        purpose=f"The highest validation accuracy with at most {replace(settings.budget, max_params=max_params)}.",
        accuracy=settings.target,
        max_params=max_params,
        epochs=settings.epochs,
    )


def _within(points: Sequence[FrozenTrial], limit: int) -> FrozenTrial:
    """The last of the front's trials, fewest parameters first, that has at most so many.

    Raises:
        StudyError: None has.
    """
    fitting = [trial for trial in points if trial.user_attrs[attrs.N_PARAMS] <= limit]
    if not fitting:
        least = points[0].user_attrs[attrs.N_PARAMS]
        raise StudyError(f"no complete trial has at most {limit:,} parameters; the smallest has {least:,}")
    return fitting[-1]


def verdict_in(path: Path) -> Verdict | None:
    """The verdict of a step file that is about to be replaced; None where it is no step, or is not there."""
    with suppress(DrillError):
        return load_step(path).verdict if path.is_file() else None
    return None


def _with_older_verdict(step: Step, path: Path) -> Step:
    """The step, with the verdict that its file has of the same recipe, if the study has none."""
    verdict = verdict_in(path) if step.verdict is None else None
    if verdict is None or verdict.recipe != step.digest:
        return step
    return with_verdict(step, verdict)


def step_file(study_name: str, trial: int | None = None) -> Path:
    """Where a study's best is written, or one of its trials."""
    which = "" if trial is None else f"-trial{trial}"
    return FOLDER / f"{file_name(study_name)}{which}.yaml"


def numbered_file(study_name: str, trial: FrozenTrial) -> Path:
    """Where a network of a front is written: named by its parameters."""
    return FOLDER / f"{file_name(study_name)}-{trial.user_attrs[attrs.N_PARAMS]}.yaml"


def step_six(study: optuna.Study, trial: FrozenTrial, target: Target | None = None) -> Step:
    """A complete trial as a step.

    Args:
        study: Of the trial.
        trial: Which.
        target: What it is for; None for the highest accuracy within the study's budget.

    Raises:
        StudyError: The trial has no recorded epochs.
    """
    settings, space = read_settings(study), read_space(study)
    records = curve(trial)
    if not records:
        raise StudyError(f"trial {trial.number} of study {study.study_name} has no recorded epochs")
    recipe = recipe_of(trial, space, settings.epochs)
    where = Environment(**trial.user_attrs[attrs.ENVIRONMENT])
    run = recorded_run(records, full=False, seed=trial.user_attrs[attrs.SEED], where=where)
    return Step(
        name=f"step 6: {harmless(study.study_name, 150)}, trial {trial.number}",
        provenance="searched",
        dataset=settings.dataset,
        target=target or _highest(settings, settings.max_params),
        model=recipe.model,
        training=recipe.training,
        result=Result(
            n_params=count(recipe.model).n_params,
            run=run,
            verdict=kept_verdict(study, trial.number),
            caveats=_caveats(trial, settings),
        ),
        analysis=analysis_of(study, trial, recipe, settings, space),
    )


def _caveats(trial: FrozenTrial, settings: StudySettings) -> tuple[Caveat, ...]:
    """What is to be known of a trial's figures."""
    if settings.dataset == "mnist-5k":
        return (SMALL_DATA,)
    return (STARTING_POINT,) if settings.dataset == "mnist" and attrs.START in trial.user_attrs else ()


def trial_yaml(
    study_name: str,
    trial: optuna.Trial | FrozenTrial,
    records: Sequence[EpochRecord],
    where: Environment,
    settings: StudySettings,
    space: DrillSpace,
) -> str:
    """A trial that is about to end, or has ended, as a step file without an analysis: more may come after it."""
    recipe = space.decode(trial.params, epochs=trial.user_attrs[attrs.EPOCHS])
    run = recorded_run(records, full=False, seed=trial.user_attrs[attrs.SEED], where=where)
    step = Step(
        name=f"{harmless(study_name, 150)}, trial {trial.number}",
        provenance="searched",
        dataset=settings.dataset,
        target=_highest(settings, settings.max_params),
        model=recipe.model,
        training=recipe.training,
        result=Result(n_params=count(recipe.model).n_params, run=run),
    )
    return dump_step(step, SCHEMA_FILE)
