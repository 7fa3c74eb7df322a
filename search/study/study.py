"""Studies: create or join one, check that it is the same search, read it back."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL

from drill_models.datasets import DatasetName, dataset_facts
from drill_models.errors import StudyError
from drill_models.result import Result, Verdict
from drill_models.step import Step, Target
from search.config import DEFAULT_EPOCHS, SearchConfig
from search.names import ObjectiveName
from search.schema.attribute_checks import SETTINGS as SETTINGS
from search.schema.attribute_checks import SKELETONS as SKELETONS
from search.schema.attribute_checks import VERDICT, read_settings_of, read_skeletons_of
from search.schema.checks import Unfit
from search.storage.checked import CheckedStorage
from search.storage.retry import Patience
from search.storage.storage import open_storage, storage_errors
from search.storage.url import shown
from search.study.trials import recipe_of
from search.text import harmless
from spaces.budget import Budget
from spaces.drill import NAME, DrillSpace
from spaces.skeletons import Skeleton

_OPTIONS = {
    "dataset": "--dataset",
    "max_params": "--budget",
    "max_macs": "--max-macs",
    "max_activations": "--max-activations",
    "epochs": "--epochs",
    "objective": "--objective",
    "space": "the space",
}

MOST_SAID = 10
"""Of what is left out, sentences; more are counted."""

_BEFORE = {"objective": "accuracy"}
"""Settings that older studies do not name."""


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What must be equal for values of a study to be comparable.

    Attributes:
        dataset: What its trials train on.
        max_params: The budget; likewise `max_macs` and `max_activations`.
        epochs: Epochs of a trial.
        space: Name and version of the space.
        target: Accuracy that it is judged by; may differ between sittings.
        objective: What its values are.
    """

    dataset: DatasetName
    max_params: int
    max_macs: int | None
    max_activations: int | None
    epochs: int
    space: str
    target: float
    objective: ObjectiveName = "accuracy"

    @property
    def budget(self) -> Budget:
        """The limits."""
        return Budget(max_params=self.max_params, max_macs=self.max_macs, max_activations=self.max_activations)


def settings_of(config: SearchConfig, dataset: DatasetName) -> StudySettings:
    """The settings of a search on the data set that was found."""
    return StudySettings(
        dataset=dataset,
        max_params=config.budget.max_params,
        max_macs=config.budget.max_macs,
        max_activations=config.budget.max_activations,
        epochs=config.epochs,
        space=NAME,
        target=config.target,
        objective=config.objective,
    )


def study_name(settings: StudySettings, own_skeletons: tuple[str, ...] = ()) -> str:
    """A readable name: data set, budget, space, and whatever is not the default."""
    parts = [settings.dataset, str(settings.max_params)]
    if settings.objective != "accuracy":
        parts.append(settings.objective)
    if settings.max_macs is not None:
        parts.append(f"{settings.max_macs}macs")
    if settings.max_activations is not None:
        parts.append(f"{settings.max_activations}activations")
    parts.append(settings.space)
    parts += own_skeletons
    if settings.epochs != DEFAULT_EPOCHS:
        parts.append(f"{settings.epochs}epochs")
    return "-".join(parts)


def open_study(
    storage: RDBStorage,
    name: str,
    settings: StudySettings,
    skeletons: tuple[Skeleton, ...],
    sampler: BaseSampler,
    pruner: BasePruner,
) -> optuna.Study:
    """Creates a study, or joins it where it is the same search.

    Raises:
        StudyError: The study was made with other settings; says which, and how to start a new one.
    """
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        pruner=pruner,
        directions=["maximize", "minimize"] if settings.objective == "pareto" else ["maximize"],
        load_if_exists=True,
    )
    dumps = _dumps(skeletons)
    found = study.user_attrs
    if SETTINGS not in found:
        if study.get_trials(deepcopy=False):
            raise StudyError(f"study {harmless(name)} was not made by drill-search; name another by --study")
        study.set_user_attr(SKELETONS, dumps)
        study.set_user_attr(SETTINGS, asdict(settings))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(["validation accuracy", "parameters"][: len(study.directions)])
        return study
    _check(study)
    _refuse_differences(study, asdict(settings), dumps)
    study.set_user_attr(SETTINGS, asdict(settings))
    return study


def check_named(url: URL, config: SearchConfig) -> None:
    """Refuses a named study of another search before torch is imported and data is looked for.

    Where MNIST is asked for, a study on the embedded digits is let through: only the files decide.

    Raises:
        StudyError: As `open_study`.
    """
    storage = open_storage(url, create=False, patience=Patience())
    with storage_errors(url):
        if config.study not in optuna.get_all_study_names(storage):
            return
        study = optuna.load_study(study_name=config.study, storage=storage)
        if SETTINGS not in study.user_attrs:
            return
        _check(study)
        found = study.user_attrs[SETTINGS]
        small = config.dataset == "mnist" and found["dataset"] == "mnist-5k"
        settings = settings_of(config, "mnist-5k" if small else config.dataset)
        _refuse_differences(study, asdict(settings), _dumps(config.skeletons))


def _dumps(skeletons: tuple[Skeleton, ...]) -> dict[str, Any]:
    return {skeleton.name: skeleton.model_dump(mode="json") for skeleton in skeletons}


def _refuse_differences(study: optuna.Study, settings: Mapping[str, Any], dumps: Mapping[str, Any]) -> None:
    found = study.user_attrs
    differences = _differences(found[SETTINGS], settings)
    if not differences and found[SKELETONS] != dumps:
        differences = [f"skeletons {', '.join(found[SKELETONS])} (now {', '.join(dumps)}, or changed)"]
    if differences:
        name, said = harmless(study.study_name), harmless("; ".join(differences))
        raise StudyError(f"study {name} was made with {said}; start a new one with --study NEWNAME")


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{option} {found.get(key, _BEFORE.get(key))} (now {wanted[key]})"
        for key, option in _OPTIONS.items()
        if found.get(key, _BEFORE.get(key)) != wanted[key]
    ]


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """An existing study, to read.

    Raises:
        StudyError: There is none of that name, or it was not made by this tool.
    """
    names = optuna.get_all_study_names(storage)
    if name not in names:
        known = ", ".join(map(harmless, names)) or "none"
        raise StudyError(
            f"there is no study {harmless(name)!r} in {shown(storage.engine.url)}; studies are: {known}"
        )
    study = optuna.load_study(study_name=name, storage=storage)
    if SETTINGS not in study.user_attrs:
        raise StudyError(f"study {harmless(name)} was not made by drill-search")
    _check(study)
    return study


def _check(study: optuna.Study) -> None:
    """Checks what a study is before anything is read from it; single trials are checked by its storage.

    Raises:
        StudyError: Its settings, skeletons, directions or numbers are not what this program writes.
    """
    settings = read_settings(study)
    if settings.space == NAME:
        read_space(study)
    ways = [direction.name for direction in study.directions]
    wanted = ["MAXIMIZE", "MINIMIZE"] if settings.objective == "pareto" else ["MAXIMIZE"]
    if ways != wanted:
        raise StudyError(
            f"study {harmless(study.study_name)}: directions must be {', '.join(wanted).lower()} for "
            f"the objective {settings.objective}, got {', '.join(ways).lower()}"
        )
    for place, trial in enumerate(study.get_trials(deepcopy=False)):
        if trial.number != place:
            raise StudyError(
                f"study {harmless(study.study_name)}: trial {trial.number} stands where {place} must be"
            )


def left_out(study: optuna.Study) -> list[str]:
    """What of a study does not fit and is left out of results, a sentence each; at most ten."""
    backend = getattr(study._storage, "_backend", study._storage)  # Optuna's cache stands before it
    if not isinstance(backend, CheckedStorage):
        return []
    found = backend.left_out(study._study_id)
    name = harmless(study.study_name)
    lines = [f"study {name}, {one}; left out" for one in found[:MOST_SAID]]
    if len(found) > MOST_SAID:
        lines.append(f"study {name}: {len(found) - MOST_SAID:,} more do not fit and are left out")
    return lines


def read_settings(study: optuna.Study) -> StudySettings:
    """The settings that a study was made with.

    Raises:
        StudyError: One of them is not what this program writes.
    """
    try:
        found = read_settings_of(study.user_attrs)
    except Unfit as error:
        raise StudyError(f"study {harmless(study.study_name)}: {error}") from error
    return StudySettings(**found.model_dump())


def read_space(study: optuna.Study) -> DrillSpace:
    """The space that a study samples from, with its own skeletons.

    Raises:
        StudyError: The study's space is of another version than this program's.
    """
    settings = read_settings(study)
    if settings.space != NAME:
        raise StudyError(
            f"study {harmless(study.study_name)} samples from space {harmless(settings.space, 40)}, this program "
            f"knows {NAME}"
        )
    try:
        skeletons = read_skeletons_of(study.user_attrs)
    except Unfit as error:
        raise StudyError(f"study {harmless(study.study_name)}: {error}") from error
    return DrillSpace(skeletons, num_classes=dataset_facts(settings.dataset).num_classes)


def keep_verdict(study: optuna.Study, number: int, verdict: Verdict) -> None:
    """Keeps the verdict on a trial; with the study, because a trial that has ended takes no more attributes."""
    study.set_user_attr(f"{VERDICT}:{number}", verdict.model_dump(mode="json"))


def kept_verdict(study: optuna.Study, number: int) -> Verdict | None:
    """The verdict on a trial, if it has one, and that is of what the trial trained."""
    found = study.user_attrs.get(f"{VERDICT}:{number}")
    if found is None:
        return None
    step = _step(study, number)
    if step is None:
        return None
    return step.model_copy(update={"result": Result(n_params=0, verdict=Verdict.model_validate(found))}).verdict


def _step(study: optuna.Study, number: int) -> Step | None:
    """What a trial trained, as a step; None where it has no network."""
    trials, settings = study.get_trials(deepcopy=False), read_settings(study)
    if number >= len(trials) or not trials[number].params:
        return None
    recipe = recipe_of(trials[number], read_space(study), settings.epochs)
    target = Target(purpose="", accuracy=settings.target, max_params=settings.max_params, epochs=settings.epochs)
    return Step(
        name="trial",
        provenance="searched",
        dataset=settings.dataset,
        target=target,
        model=recipe.model,
        training=recipe.training,
    )
