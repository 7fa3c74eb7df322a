"""The two ways to train a network: compiled kernels of our own on the CPU, and PyTorch's layers.

Both start from the same weights and follow the same formulas; only rounding and dropout's random
numbers differ. The own kernels are made for tiny networks and one thread.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drill_models.build import build
from drill_models.device import DeviceName
from drill_models.errors import DrillError
from drill_models.step import ModelConfig

EngineOption = Literal["auto", "native", "torch"]
EngineName = Literal["native", "torch"]


class Network(Protocol):
    """A network as the training loop sees it. Images are (N, 1, 28, 28) normalised floats."""

    engine: EngineName

    def parameters(self) -> Sequence[nn.Parameter]:
        """What the optimiser changes."""

    def train_batch(self, images: Tensor, labels: Tensor, *, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Puts the slopes of the mean cross-entropy into the parameters' `grad`.

        Returns:
            The loss and the number of images whose label got the highest score, without a gradient.
        """

    def scores(self, images: Tensor) -> Tensor:
        """(N, logits), in evaluation mode."""

    def module(self) -> nn.Module:
        """The network as it is now, as PyTorch's layers."""


def make_network(
    model: ModelConfig, *, device: DeviceName, engine: EngineOption, max_batch: int, seed: int
) -> Network:
    """Builds a network from torch's global random state.

    Args:
        model: What to build.
        device: Where to train.
        engine: `auto` takes the own kernels on the CPU, where they cover the network.
        max_batch: Images in the largest batch.
        seed: Of dropout's masks.

    Raises:
        DrillError: `native` was asked for and cannot be had.
    """
    net = build(model).to(device)
    if engine == "torch" or (engine == "auto" and (device != "cpu" or find_spec("llvmlite") is None)):
        return TorchNetwork(net)
    if device != "cpu":
        raise DrillError("--engine native runs on the CPU only; use --engine torch or --device cpu")
    if find_spec("llvmlite") is None:
        raise DrillError("--engine native needs the package llvmlite, which is not installed here")
    from drill_models.native.network import NativeNetwork
    from drill_models.native.plan import Unsupported

    try:
        return NativeNetwork(model, net, max_batch=max_batch, seed=seed)
    except Unsupported as error:
        if engine == "native":
            raise DrillError(f"--engine native does not cover this network: {error}") from error
        return TorchNetwork(net)


class TorchNetwork:
    """A network of PyTorch's layers, differentiated by PyTorch."""

    engine: EngineName = "torch"

    def __init__(self, net: nn.Module) -> None:
        self._net = net

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes."""
        return list(self._net.parameters())

    def train_batch(self, images: Tensor, labels: Tensor, *, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """One pass forward and back."""
        self._net.train()
        scores = self._net(images)
        loss = F.cross_entropy(scores, labels, label_smoothing=label_smoothing)
        self._net.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), (scores.detach().argmax(1) == labels).sum()

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """(N, logits), in evaluation mode."""
        self._net.eval()
        return self._net(images)  # type: ignore[no-any-return]

    def module(self) -> nn.Module:
        """The network itself."""
        return self._net
