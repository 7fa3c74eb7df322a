"""Names that options choose from. Imports nothing, so that `--help` answers at once."""

from typing import Literal, get_args

SamplerName = Literal["tpe", "nsga2", "cmaes", "gp", "random"]
SAMPLER_NAMES: tuple[SamplerName, ...] = get_args(SamplerName)

PrunerName = Literal["gentle", "percentile", "median", "hyperband", "none"]
PRUNER_NAMES: tuple[PrunerName, ...] = get_args(PrunerName)

DeviceOption = Literal["auto", "cpu", "cuda"]
DEVICE_OPTIONS: tuple[DeviceOption, ...] = get_args(DeviceOption)

EngineOption = Literal["auto", "native", "torch"]
ENGINE_OPTIONS: tuple[EngineOption, ...] = get_args(EngineOption)

PrecisionOption = Literal["auto", "fp32", "bf16"]
PRECISION_OPTIONS: tuple[PrecisionOption, ...] = get_args(PrecisionOption)
