"""The two ways to train a network: compiled kernels of our own on the CPU, and PyTorch's layers.

Both start from the same weights and follow the same formulas; only rounding and dropout's random
numbers differ. The own kernels are made for tiny networks and one thread.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Protocol

import torch
from torch import Tensor, nn

from drill_models.backend import Backend, EngineName, Environment
from drill_models.build import build
from drill_models.errors import DrillError
from drill_models.step import ModelConfig
from drill_models.torch_network import TorchNetwork, record_cuda_graph


class Network(Protocol):
    """A network as the training loop sees it. Images are (N, 1, 28, 28) normalised floats."""

    engine: EngineName

    def parameters(self) -> Sequence[nn.Parameter]:
        """What the optimiser changes."""

    def statistics(self) -> Sequence[Tensor]:
        """Batch norm's running means and variances, which change in place."""

    def train_batch(self, images: Tensor, labels: Tensor, *, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Puts the slopes of the mean cross-entropy into the parameters' `grad`.

        Returns:
            The loss and the number of images whose label got the highest score, without a gradient.
        """

    def scores(self, images: Tensor) -> Tensor:
        """(N, logits), in evaluation mode."""

    def module(self) -> nn.Module:
        """The network as it is now, as PyTorch's layers."""


def engine_for(model: ModelConfig, backend: Backend) -> EngineName:
    """The engine that trains a network.

    Raises:
        DrillError: `native` was asked for and does not cover the network.
    """
    if backend.engine == "torch" or backend.device != "cpu" or backend.precision != "fp32":
        return "torch"
    from drill_models.native.compile import processor
    from drill_models.native.plan import Unsupported, make_plan

    try:
        processor()
        make_plan(model)
    except Unsupported as error:
        if backend.engine == "native":
            raise DrillError(f"--engine native does not cover {error}") from error
        return "torch"
    return "native"


def environment(model: ModelConfig, backend: Backend) -> Environment:
    """What a run of a network in this process runs on."""
    engine = engine_for(model, backend)
    return Environment(
        device=backend.device,
        # The own kernels run on one thread, whatever PyTorch has.
        threads=1 if engine == "native" else torch.get_num_threads(),
        torch=torch.__version__,
        program=version("drill-search"),
        engine=engine,
        precision=backend.precision,
        # The main process of a cluster may have no GPU itself.
        gpu=torch.cuda.get_device_name() if backend.device == "cuda" and torch.cuda.is_available() else None,
    )


def make_network(model: ModelConfig, backend: Backend, *, batch: int, max_batch: int, seed: int) -> Network:
    """Builds a network from torch's global random state.

    Args:
        model: What to build.
        backend: What trains it.
        batch: Images in most batches.
        max_batch: Images in the largest.
        seed: Of dropout's masks.

    Raises:
        DrillError: `native` was asked for and does not cover the network.
    """
    net = build(model)
    if engine_for(model, backend) == "torch":
        recorder = record_cuda_graph if backend.device == "cuda" else None
        return TorchNetwork(net.to(backend.device), backend, batch=batch, recorder=recorder)
    from drill_models.native.network import NativeNetwork

    return NativeNetwork(model, net, max_batch=max_batch, seed=seed)
