"""What trains a network: names and values, without PyTorch."""

from dataclasses import dataclass
from typing import Literal

DeviceOption = Literal["auto", "cpu", "cuda"]
DeviceName = Literal["cpu", "cuda"]
EngineOption = Literal["auto", "native", "torch"]
EngineName = Literal["native", "torch"]
PrecisionOption = Literal["auto", "fp32", "bf16"]
PrecisionName = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What trains a network.

    Attributes:
        device: Where.
        engine: `native`, own kernels on the CPU; `torch`, PyTorch's layers; `auto`, the own kernels where they
            cover the network, else PyTorch's.
        precision: `bf16` multiplies in bfloat16, by PyTorch's autocast.
    """

    device: DeviceName = "cpu"
    engine: EngineOption = "auto"
    precision: PrecisionName = "fp32"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a training run ran on; together with recipe, data, seed and kind of CPU it decides the bits.

    Attributes:
        device: Where it trained.
        threads: On the CPU: PyTorch's, or the one of the own kernels.
        torch: Version of PyTorch.
        program: Version of drill-search, whose own kernels may have changed; None of a run before it was recorded.
        engine: Own kernels, or PyTorch's layers.
        precision: Of multiplications.
        gpu: The name of its kind, of a run on one.
    """

    device: DeviceName
    threads: int
    torch: str
    program: str | None = None
    engine: EngineName = "torch"
    precision: PrecisionName = "fp32"
    gpu: str | None = None
