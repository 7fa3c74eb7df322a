"""Names that options choose from. Imports nothing, so that `--help` answers at once."""

from typing import Literal, get_args

from drill_models.backend import DeviceOption, EngineOption, PrecisionOption

WrappedSamplerName = Literal["tpe", "nsga2", "cmaes", "gp", "random"]
"""Optuna's own samplers, which know nothing of a budget."""

SamplerName = Literal["local", WrappedSamplerName]
SAMPLER_NAMES: tuple[SamplerName, ...] = get_args(SamplerName)

PrunerName = Literal["forecast", "gentle", "percentile", "median", "hyperband", "none"]
PRUNER_NAMES: tuple[PrunerName, ...] = get_args(PrunerName)

ObjectiveName = Literal["accuracy", "pareto"]
OBJECTIVE_NAMES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)

FormatName = Literal["yaml", "python", "notebook", "onnx", "weights", "torch"]
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)

DEFAULT_BASELINES = ("e-codes/4", "b-cyclic/5", "d-rotation/5", "c-under-20k/4", "a-runs")
"""Hand steps that a search trains first: the last step of four ladders, small and strong ones first, so that
something good is there early; and all five steps of a-runs."""

TrackerName = Literal["mlflow", "tensorboard"]
TRACKER_NAMES: tuple[TrackerName, ...] = get_args(TrackerName)

DEVICE_OPTIONS: tuple[DeviceOption, ...] = get_args(DeviceOption)
ENGINE_OPTIONS: tuple[EngineOption, ...] = get_args(EngineOption)
RAY: Literal["ray"] = "ray"
"""In the place of an engine: networks train on a Ray cluster."""
PLACE_OPTIONS: tuple[EngineOption | Literal["ray"], ...] = (*ENGINE_OPTIONS, RAY)
PRECISION_OPTIONS: tuple[PrecisionOption, ...] = get_args(PrecisionOption)
