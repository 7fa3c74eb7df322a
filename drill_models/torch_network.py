"""A network of PyTorch's layers; on CUDA, a training step is captured once and replayed.

A step of a tiny network is some hundred kernels of microseconds, so that launching them takes longer than
running them. A CUDA graph launches all of them at once.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn import functional as F

from drill_models.backend import Backend, EngineName

Step = Callable[[], tuple[Tensor, Tensor]]
"""A pass forward and back over tensors that stay where they are; gives loss and hits."""

Recorder = Callable[[Step], Step]
"""Makes of a step one that does the same again, on whatever its tensors then hold."""


class TorchNetwork:
    """A network of PyTorch's layers, differentiated by PyTorch."""

    engine: EngineName = "torch"

    def __init__(self, net: nn.Module, backend: Backend, *, batch: int, recorder: Recorder | None = None) -> None:
        """
        Args:
            net: The network, on the backend's device.
            backend: Its precision counts.
            batch: Images in most batches: what a recorded step takes; others run layer by layer.
            recorder: Records that step; None where layer by layer is as fast.
        """
        self._net = net
        self._autocast = torch.autocast(backend.device, torch.bfloat16, enabled=backend.precision == "bf16")
        self._batch = batch
        self._recorder = recorder
        self._recorded: _Recorded | None = None

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes."""
        return list(self._net.parameters())

    def statistics(self) -> list[Tensor]:
        """Batch norm's running means and variances."""
        return [buffer for buffer in self._net.buffers() if buffer.is_floating_point()]

    def train_batch(self, images: Tensor, labels: Tensor, *, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """One pass forward and back."""
        self._net.train()
        if self._recorder is None or len(images) != self._batch:
            # A recorded step writes into the slopes that it was recorded with, so these have to stay.
            self._net.zero_grad(set_to_none=self._recorded is None)
            return self._pass(images, labels, label_smoothing)
        if self._recorded is None:
            self._recorded = self._record(self._recorder, images, labels, label_smoothing)
        return self._recorded.run(images, labels)

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """(N, logits), in evaluation mode."""
        self._net.eval()
        with _the_same_again(), self._autocast:
            return self._net(images).float()  # type: ignore[no-any-return]

    def module(self) -> nn.Module:
        """The network itself."""
        return self._net

    def _pass(self, images: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        with _the_same_again():
            with self._autocast:
                scores = self._net(images)
            scores = scores.float()
            loss = F.cross_entropy(scores, labels, label_smoothing=label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), (scores.detach().argmax(1) == labels).sum()

    def _record(self, recorder: Recorder, images: Tensor, labels: Tensor, label_smoothing: float) -> "_Recorded":
        images, labels = images.clone(), labels.clone()
        # Trying the step out moves batch norm's running statistics, which then are set back.
        before = [buffer.clone() for buffer in self._net.buffers()]

        def step() -> tuple[Tensor, Tensor]:
            self._net.zero_grad(set_to_none=True)
            return self._pass(images, labels, label_smoothing)

        recorded = _Recorded(images, labels, recorder(step))
        for buffer, value in zip(self._net.buffers(), before, strict=True):
            buffer.copy_(value)
        return recorded


class _Recorded:
    """A recorded step with the tensors that it reads."""

    def __init__(self, images: Tensor, labels: Tensor, step: Step) -> None:
        self._images = images
        self._labels = labels
        self._step = step

    def run(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self._images.copy_(images)
        self._labels.copy_(labels)
        loss, hits = self._step()
        return loss.clone(), hits.clone()


def _the_same_again() -> AbstractContextManager[None]:
    """Within it, a GPU's convolutions add in the same order each time, and round as fp32 does.

    By itself cuDNN takes kernels that add in any order, and multiplies in TF32, of which ten bits are kept.
    """
    return cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def record_cuda_graph(step: Step) -> Step:
    """Captures a step as a CUDA graph.

    Source: PyTorch's notes on CUDA graphs, https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: a few
    turns on a stream of their own first, so that libraries choose and allocate outside the capture.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()

    def replay() -> tuple[Tensor, Tensor]:
        graph.replay()
        return result

    return replay
