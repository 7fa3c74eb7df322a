"""Options of the commands, checked before anything heavy is imported."""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from drill_models.datasets import DATASET_NAMES, dataset_facts
from drill_models.errors import DrillError
from drill_models.files import check_writable
from drill_models.hand_steps import choose
from search.config import ClusterOptions, SearchConfig, TrainingOptions
from search.names import (
    DEFAULT_BASELINES,
    DEVICE_OPTIONS,
    OBJECTIVE_NAMES,
    PLACE_OPTIONS,
    PRECISION_OPTIONS,
    PRUNER_NAMES,
    RAY,
    SAMPLER_NAMES,
    TRACKER_NAMES,
    TrackerName,
)
from search.text import check_study_name
from spaces.budget import Budget
from spaces.skeletons import check_budget, load_skeletons

TRACKER_PACKAGES: dict[TrackerName, str] = {"mlflow": "mlflow-skinny", "tensorboard": "tensorboard"}

NameT = TypeVar("NameT", bound=str)


def one_of(option: str, value: str, allowed: Sequence[NameT]) -> NameT:
    """The value, if it is allowed.

    Raises:
        DrillError: It is not; says what is.
    """
    for name in allowed:
        if value == name:
            return name
    raise DrillError(f"{option} must be one of {', '.join(allowed)}, got {value!r}")


def training_options(
    *,
    data: Path | None,
    offline: bool,
    device: str,
    engine: str,
    precision: str,
    workers: int | None,
    address: str | None = None,
) -> TrainingOptions:
    """What trains a step, from what was typed.

    Raises:
        DrillError: Something is not allowed; says what is.
    """
    chosen = one_of("--engine", engine, PLACE_OPTIONS)
    if address is not None and chosen != RAY:
        raise DrillError(f"--address is a Ray cluster's; it needs --engine {RAY}")
    if chosen == RAY and find_spec("ray") is None:
        raise DrillError(f"--engine {RAY} needs a library: pip install ray")
    return TrainingOptions(
        data=data,
        offline=offline,
        device=one_of("--device", device, DEVICE_OPTIONS),
        # On a cluster, workers take what `auto` means where they are.
        engine="auto" if chosen == RAY else chosen,
        precision=one_of("--precision", precision, PRECISION_OPTIONS),
        workers=workers,
        cluster=ClusterOptions(address=address) if chosen == RAY else None,
    )


def search_config(
    *,
    budget: int,
    trials: int,
    epochs: int,
    target: float,
    dataset: str,
    training: TrainingOptions,
    max_macs: int | None = None,
    max_activations: int | None = None,
    baselines: Sequence[str] | None = None,
    skeletons: Sequence[Path] = (),
    sampler: str = "tpe",
    pruner: str = "forecast",
    objective: str = "accuracy",
    starts: bool = True,
    finalists: int | None = None,
    finalist_seeds: int = 2,
    hold_seeds: int | None = None,
    timeout: float | None = None,
    hard_timeout: float | None = None,
    seed: int = 0,
    storage: str | None = None,
    study: str | None = None,
    out: Path | None = None,
    trackers: Sequence[str] | None = None,
) -> SearchConfig:
    """The settings of a search, from what was typed.

    Raises:
        DrillError: Something is not allowed; says what it is and what is allowed.
    """
    if not 0 < target <= 1:
        raise DrillError(f"--target is a fraction above 0 and at most 1, for example 0.994, got {target:g}")
    for option, seconds in (("--timeout", timeout), ("--hard-timeout", hard_timeout)):
        if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
            raise DrillError(f"{option} must be a number of seconds above 0, got {seconds:g}")
    if study is not None:
        check_study_name("--study", study)
    if finalists == 1:
        raise DrillError("--finalists 1 would be compared with nobody; use 0 for none, or 2 and more")
    name = one_of("--dataset", dataset, DATASET_NAMES)
    chosen = tuple(baselines) if baselines else DEFAULT_BASELINES
    choose(chosen)
    loaded = load_skeletons(skeletons)
    config = SearchConfig(
        budget=Budget(max_params=budget, max_macs=max_macs, max_activations=max_activations),
        skeletons=loaded,
        trials=trials,
        epochs=epochs,
        target=target,
        dataset=name,
        training=training,
        timeout=timeout,
        hard_timeout=hard_timeout,
        seed=seed,
        sampler=one_of("--sampler", sampler, SAMPLER_NAMES),
        pruner=one_of("--pruner", pruner, PRUNER_NAMES),
        objective=one_of("--objective", objective, OBJECTIVE_NAMES),
        starts=starts,
        finalists=finalists,
        finalist_seeds=finalist_seeds,
        hold_seeds=hold_seeds,
        baselines=chosen,
        storage=storage,
        study=study,
        out=out,
        trackers=_trackers(trackers or ()),
        # The user's own come last.
        own_skeletons=tuple(skeleton.name for skeleton in loaded[len(loaded) - len(skeletons) :]),
        skeleton_files=tuple(map(str, skeletons)),
    )
    if config.objective == "pareto":
        _check_pareto(config)
    check_budget(config.skeletons, config.budget, dataset_facts(name).num_classes)
    return config


def _trackers(names: Sequence[str]) -> tuple[TrackerName, ...]:
    """Trackers whose libraries are installed under the same names.

    Raises:
        DrillError: There is no such tracker, or its library is missing.
    """
    found = tuple(one_of("--tracker", name, TRACKER_NAMES) for name in dict.fromkeys(names))
    for name in found:
        if find_spec(name) is None:
            raise DrillError(f"--tracker {name} needs a library: pip install {TRACKER_PACKAGES[name]}")
    return found


def _check_pareto(config: SearchConfig) -> None:
    """Checks that sampler and pruner can handle two values.

    Raises:
        DrillError: One of them cannot.
    """
    if config.sampler == "cmaes":
        raise DrillError(
            "--sampler cmaes knows one value only; with --objective pareto use tpe, nsga2, gp or random"
        )
    if config.pruner not in ("forecast", "none"):
        raise DrillError(
            f"--pruner {config.pruner} knows one value only; with --objective pareto use forecast or none"
        )


def check_confirm(files: Sequence[Path], top: int, out: Path | None, *, study: bool) -> None:
    """Checks that what `confirm` was given goes together, and that files can be written.

    Raises:
        DrillError: It does not.
    """
    if files and (study or top > 1):
        raise DrillError("confirm takes step files, or --top, --study and --storage, not both")
    if out is not None and max(len(files), top) > 1:
        raise DrillError("--out takes one step; without it each has a file of its own")
    if len(set(files)) < len(files):
        raise DrillError("a file is named twice")
    for path in files if out is None else [out]:
        check_writable(path)
