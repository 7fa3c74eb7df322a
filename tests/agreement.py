"""Compares the native kernels with PyTorch in double precision, away from kinks.

Activations and max pooling have kinks: a value within rounding of one may fall on its other side, and then
gradients differ by much more than rounding. One such value of 24,102 once made 1.02 % of a gradient's norm. So
an image with a value near a kink passes no gradient back, in both engines alike. Through batch norm it still has
a small part in the others' gradients; so one batch at least has no such image, or the network no batch norm.
"""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drill_models.build import build
from drill_models.native.compile import Processor, processor
from drill_models.native.network import NativeNetwork
from drill_models.step import ModelConfig

NEAR_KINK = 5e-6
"""Distance to a kink, in root mean squares of the layer; rounding was seen to move values by up to this."""

ROUNDING = 5e-5
"""What a gradient may be off, as a share of its norm; 1e-5 was seen."""

THROUGH_BATCH_NORM = 2e-3
"""The same in a batch with images near kinks, in a network with batch norm; 4e-4 was seen."""

SINGLE_PRECISION = 10
"""So many times what PyTorch loses in single precision may the kernels lose, beside the floor.

Batch norm divides by a small spread, of a tiny filter or of few values, and rounding grows as much. How
much that is depends on the network, so it is measured on the same batch.
"""

MOST_BATCHES = 20
"""Batches until as many images as fit into one were away from kinks."""


class Masked(nn.Module):
    """Dropout by the very masks that the kernels draw: lowbias32 of element number plus key."""

    def __init__(self, layer: nn.Dropout | nn.Dropout2d, native: NativeNetwork, index: int, lanes: int) -> None:
        super().__init__()
        self._rate, self._channels = layer.p, isinstance(layer, nn.Dropout2d)
        self._native, self._index, self._lanes = native, index, lanes

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        n, c, h, w = x.shape
        lanes = self._lanes
        area = 1 if self._channels else h * w
        image, lane = np.arange(n) // lanes, np.arange(n) % lanes
        element = np.arange(c * area, dtype=np.uint32)[None] * np.uint32(lanes) + lane[:, None].astype(np.uint32)
        hashed = element + self._native.dropout_keys[self._index][image][:, None]
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            hashed = (hashed ^ (hashed >> np.uint32(shift))) * np.uint32(factor)
        hashed ^= hashed >> np.uint32(16)
        kept = torch.from_numpy(hashed >= round(self._rate * 2**32))
        shape = (n, c, 1, 1) if self._channels else (n, c, h, w)
        return x * kept.view(shape) / (1 - self._rate)


def with_masks(net: nn.Module, native: NativeNetwork, lanes: int) -> None:
    """Puts the kernels' masks in the place of a PyTorch network's dropout layers."""
    layers = [i for i, layer in enumerate(native.plan.layers) if "dropout" in layer.ops]
    found = [
        (parent, name, child)
        for parent in net.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Dropout | nn.Dropout2d)
    ]
    for (parent, name, child), layer in zip(found, layers, strict=True):
        setattr(parent, name, Masked(child, native, layer, lanes))


class Kinks:
    """Watches a PyTorch network for images with a value near a kink.

    Attributes:
        clear: (N,): the last batch's images that are away from all kinks.
    """

    def __init__(self, net: nn.Module) -> None:
        self.clear = torch.ones(0, dtype=torch.bool)
        net.register_forward_pre_hook(self._begin)
        for module in net.modules():
            if isinstance(module, nn.ReLU | nn.PReLU | nn.Hardswish | nn.MaxPool2d):
                module.register_forward_pre_hook(self._watch)

    def _begin(self, _: nn.Module, inputs: tuple[Tensor]) -> None:
        self.clear = torch.ones(len(inputs[0]), dtype=torch.bool)

    def _watch(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        x = inputs[0].detach()
        distance = (x.abs() - 3).abs() if isinstance(module, nn.Hardswish) else x.abs()
        if isinstance(module, nn.MaxPool2d):
            n, c, h, w = x.shape
            size = module.kernel_size
            assert isinstance(size, int)
            windows = F.unfold(x.reshape(n * c, 1, h, w), size, stride=size)
            best, second = windows.topk(2, dim=1).values.unbind(1)
            distance = (best - second).view(n, -1)
        # What is exactly equal stays so in any precision: zeros of ReLU and of dropout, which pass nothing back.
        near = (distance > 0) & (distance < NEAR_KINK * x.square().mean().sqrt())
        self.clear &= ~near.flatten(1).any(1)


class _Halted(NativeNetwork):
    """Kernels to which only chosen images pass a gradient back.

    Attributes:
        chosen: Returns (N,) booleans, once the forward pass is done.
    """

    chosen: Callable[[], Tensor]

    def backward(self, slope: Tensor) -> None:
        super().backward(slope * self.chosen()[:, None])


def assert_agree(
    model: ModelConfig, n: int, *, seed: int = 0, smoothing: float = 0.0, target: Processor | None = None
) -> None:
    """Compares logits, loss, gradients, running statistics and evaluation of both engines.

    On two batches at least, the second of which is smaller, and on more images than a batch in evaluation.
    """
    target = target or processor()
    torch.manual_seed(seed)
    net, reference = build(model), build(model)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # as they are after some training
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    reference.load_state_dict(net.state_dict())
    single = copy.deepcopy(net)
    native = _Halted(model, net, max_batch=n, seed=seed, target=target)
    with_masks(reference, native, target.lanes)
    with_masks(single, native, target.lanes)
    kinks = Kinks(reference)
    reference.double()  # so that the difference is the kernels' own rounding
    coupled = any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    compared, strictly = 0, False
    for batch in range(MOST_BATCHES):
        size = max(1, n // min(2**batch, 4))
        exact = _compare_batch(native, reference, single, kinks, size, smoothing=smoothing, coupled=coupled)
        compared += int(kinks.clear.sum())
        strictly |= exact
        if batch and strictly and compared >= n:
            break
    assert strictly, "every batch had an image near a kink"
    assert compared >= n, f"{compared} images of {n} were away from kinks"
    trained, wanted = native.module().state_dict(), reference.state_dict()
    for name, value in trained.items():
        if "running" in name:
            assert torch.allclose(value.double(), wanted[name], rtol=1e-3, atol=1e-5), name
    reference.eval()
    images = torch.randn(n + 3, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(native.scores(images).double(), reference(images.double()), rtol=1e-3, atol=1e-4)


def _compare_batch(
    native: _Halted,
    reference: nn.Module,
    single: nn.Module,
    kinks: Kinks,
    size: int,
    *,
    smoothing: float,
    coupled: bool,
) -> bool:
    """Compares one batch.

    Args:
        native: The kernels.
        reference: PyTorch in double precision.
        single: PyTorch in single precision, which says how much rounding costs here.
        kinks: Which images are away from kinks.
        size: Of the batch.
        smoothing: Of the labels.
        coupled: Whether batch norm lets images act on each other.

    Returns:
        Whether its gradients agree to rounding, with nothing allowed for kinks.
    """
    classes = native.plan.num_classes
    images, labels = torch.randn(size, 1, 28, 28), torch.randint(0, classes, (size,))
    passes: list[Tensor] = []

    def chosen() -> Tensor:
        # The kernels' masks are drawn by now.
        reference.train()
        with torch.enable_grad():
            passes.append(reference(images.double()))
        return kinks.clear

    native.chosen = chosen
    loss, hits = native.train_batch(images, labels, label_smoothing=smoothing)
    (logits,) = passes
    losses = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    assert float(loss) == pytest.approx(float(losses.detach().mean()), rel=1e-4, abs=1e-5)
    best, second = logits.detach().topk(2).values.T
    decided = best - second > 1e-3  # of others either may win
    correct = logits.argmax(1) == labels
    assert int((correct & decided).sum()) <= int(hits) <= int((correct | ~decided).sum())
    reference.zero_grad()
    ((losses * kinks.clear).sum() / size).backward()  # type: ignore[no-untyped-call]
    single.zero_grad()
    single_losses = F.cross_entropy(single.train()(images), labels, label_smoothing=smoothing, reduction="none")
    ((single_losses * kinks.clear).sum() / size).backward()  # type: ignore[no-untyped-call]
    (flat,) = native.parameters()
    assert flat.grad is not None
    exact = bool(kinks.clear.all()) or not coupled
    allowed = ROUNDING if exact else THROUGH_BATCH_NORM
    # Batch norm's gradients are differences of larger numbers; some are 0 but for rounding.
    floor = 2e-5 if coupled else 1e-7
    at = 0
    for (name, p), rounded in zip(reference.named_parameters(), single.parameters(), strict=True):
        assert p.grad is not None
        assert rounded.grad is not None
        lost = float((rounded.grad - p.grad).norm())
        own = flat.grad[at : at + p.numel()].view_as(p)
        bound = allowed * float(p.grad.norm()) + max(floor, SINGLE_PRECISION * lost)
        assert float((own - p.grad).norm()) <= bound, name
        at += p.numel()
    assert at == len(flat)
    return exact and bool(kinks.clear.any())
