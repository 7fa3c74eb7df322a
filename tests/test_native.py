"""The own kernels: the same numbers as PyTorch's layers, forward, backward and in evaluation."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn import functional as F

from drill_models.backend import Backend, EngineName
from drill_models.build import build
from drill_models.data import ResidentData
from drill_models.errors import DrillError
from drill_models.hand_steps import all_steps
from drill_models.native.compile import Processor, processor
from drill_models.native.convolutions import split
from drill_models.native.network import NativeNetwork
from drill_models.native.plan import Unsupported, make_plan
from drill_models.networks import make_network
from drill_models.step import (
    ConvBlock,
    Dropout,
    FullConvHead,
    GapHead,
    Head,
    ModelConfig,
    Operation,
    PoolBlock,
    Recipe,
)
from drill_models.torch_network import TorchNetwork
from drill_models.train import train
from tests.strategies import models

_OPERATIONS: tuple[Operation, ...] = ("batch_norm", "relu", "dropout")
ENGINES: tuple[EngineName, ...] = ("native", "torch")
ORDERS: list[tuple[Operation, ...]] = [order for n in range(4) for order in itertools.permutations(_OPERATIONS, n)]

HEADS: list[Head] = [
    GapHead(),
    GapHead(classifier="linear"),
    GapHead(classifier="none"),
    FullConvHead(kind="full_conv"),
]


class _Masked(nn.Module):
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


def _with_masks(net: nn.Module, native: NativeNetwork, lanes: int) -> list[_Masked]:
    """Puts the kernels' masks in the place of a PyTorch network's dropout layers."""
    layers = [i for i, layer in enumerate(native.plan.layers) if "dropout" in layer.ops]
    found = [
        (parent, name, child)
        for parent in net.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Dropout | nn.Dropout2d)
    ]
    masked = []
    for (parent, name, child), layer in zip(found, layers, strict=True):
        masked.append(_Masked(child, native, layer, lanes))
        setattr(parent, name, masked[-1])
    return masked


def _agree(
    model: ModelConfig, n: int, *, seed: int = 0, smoothing: float = 0.0, target: Processor | None = None
) -> None:
    """Compares scores, loss, slopes, running statistics and evaluation of both engines.

    On two batches, the second of which is smaller, and on more images than a batch in evaluation.
    """
    target = target or processor()
    torch.manual_seed(seed)
    net = build(model)
    reference = build(model)
    reference.load_state_dict(net.state_dict())
    native = NativeNetwork(model, net, max_batch=n, seed=seed, target=target)
    (flat,) = native.parameters()
    _with_masks(reference, native, target.lanes)
    # In double precision, so that the difference is the kernels' own rounding.
    reference.double()
    for size in (n, max(1, n // 2)):
        images, labels = torch.randn(size, 1, 28, 28), torch.randint(0, model.num_classes, (size,))
        loss, hits = native.train_batch(images, labels, label_smoothing=smoothing)
        reference.train()
        reference.zero_grad()
        scores = reference(images.double())
        expected = F.cross_entropy(scores, labels, label_smoothing=smoothing)
        expected.backward()  # type: ignore[no-untyped-call]
        assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-5)
        best, second = scores.detach().topk(2).values.T
        clear = best - second > 1e-3  # of others either may win
        right = scores.argmax(1) == labels
        assert int((right & clear).sum()) <= int(hits) <= int((right | ~clear).sum())
        at = 0
        assert flat.grad is not None
        for name, p in reference.named_parameters():
            assert p.grad is not None
            own = flat.grad[at : at + p.numel()].view_as(p)
            # A value near a kink of ReLU or of pooling may fall on its other side: without batch norm, and in
            # tiny batches, one of them is more of the whole.
            assert float((own - p.grad).norm()) <= 6e-3 * float(p.grad.norm()) + 5e-5, name
            at += p.numel()
        assert at == len(flat)
    trained, wanted = native.module().state_dict(), reference.state_dict()
    for name, value in trained.items():
        if "running" in name:
            assert torch.allclose(value.double(), wanted[name], rtol=1e-3, atol=1e-5), name
    reference.eval()
    images = torch.randn(2 * n + 3, 1, 28, 28)
    assert torch.allclose(native.scores(images).double(), reference(images.double()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.name)
def test_hand_steps(step) -> None:  # type: ignore[no-untyped-def]
    _agree(step.model, 37)


@pytest.mark.parametrize("then", ORDERS, ids="-".join)
def test_every_order_of_operations(then: tuple[Operation, ...]) -> None:
    blocks = (
        ConvBlock(channels=5, padding=1, then=then),
        PoolBlock(kind="pool", size=3),
        ConvBlock(channels=7, then=then),
    )
    dropout = Dropout(rate=0.3) if "dropout" in then else None
    _agree(ModelConfig(blocks=blocks, dropout=dropout, head=GapHead()), 20, smoothing=0.1)


@pytest.mark.parametrize("head", HEADS, ids=str)
@pytest.mark.parametrize("per", ["element", "channel"])
def test_residual_and_separable_blocks(head: Head, per: str) -> None:
    then: tuple[Operation, ...] = ("batch_norm", "relu", "dropout")
    blocks = (
        ConvBlock(channels=6, kernel=5, padding=2, then=then),
        ConvBlock(channels=6, padding=1, separable=True, residual=True, then=then),
        PoolBlock(kind="pool", size=2),
        ConvBlock(channels=6, padding=1, residual=True, then=then),
        PoolBlock(kind="pool", size=2),
        ConvBlock(channels=11, kernel=3, padding=1, separable=True, then=then),
        ConvBlock(channels=11, kernel=1, residual=True, then=("relu",)),
        PoolBlock(kind="pool", size=2),
    )
    _agree(ModelConfig(blocks=blocks, dropout=Dropout(rate=0.2, per=per), head=head), 33)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 15, 16, 17, 64])
def test_batches_that_do_not_fill_their_lanes(n: int) -> None:
    blocks = (ConvBlock(channels=4, then=("batch_norm", "relu")), ConvBlock(channels=4, then=("batch_norm",)))
    _agree(ModelConfig(blocks=blocks, head=GapHead(classifier="linear")), n)


@pytest.mark.parametrize(
    "target",
    [Processor(lanes=16, registers=32), Processor(lanes=8, registers=16), Processor(lanes=4, registers=32)],
    ids=["AVX-512", "AVX2", "NEON"],
)
def test_tiles_of_other_processors(target: Processor) -> None:
    """What is compiled for them runs here too, only slower or in more instructions."""
    then: tuple[Operation, ...] = ("batch_norm", "relu", "dropout")
    blocks = (
        ConvBlock(channels=9, padding=1, then=then),
        PoolBlock(kind="pool", size=2),
        ConvBlock(channels=13, kernel=5, padding=1, then=then),
        ConvBlock(channels=13, padding=1, separable=True, residual=True, then=then),
    )
    model = ModelConfig(blocks=blocks, dropout=Dropout(rate=0.2), head=GapHead())
    _agree(model, 21, target=target)


@settings(max_examples=15, deadline=None)
@given(models())
def test_whatever_can_be_planned(model: ModelConfig) -> None:
    try:
        make_plan(model)
    except Unsupported:
        return
    _agree(model, 6)


def test_pooling_twice_is_pooling_once_and_first_is_not_covered() -> None:
    twice = (ConvBlock(channels=4), PoolBlock(kind="pool", size=2), PoolBlock(kind="pool", size=3))
    _agree(ModelConfig(blocks=twice, head=GapHead()), 9)
    first = ModelConfig(blocks=(PoolBlock(kind="pool", size=2), ConvBlock(channels=12)), head=GapHead())
    with pytest.raises(Unsupported):
        make_plan(first)
    fallback = make_network(first, Backend(), batch=4, max_batch=4, seed=0)
    assert isinstance(fallback, TorchNetwork)
    with pytest.raises(DrillError, match="--engine native does not cover pooling"):
        make_network(first, Backend(engine="native"), batch=4, max_batch=4, seed=0)


def test_wide_networks_fall_back() -> None:
    wide = ModelConfig(blocks=(ConvBlock(channels=300),), head=GapHead())
    assert make_network(wide, Backend(), batch=4, max_batch=4, seed=0).engine == "torch"


def test_masks_change_with_the_batch_and_repeat_with_the_seed() -> None:
    model = ModelConfig(
        blocks=(ConvBlock(channels=12, then=("dropout",)),), dropout=Dropout(rate=0.5), head=GapHead()
    )
    images = torch.randn(16, 1, 28, 28)
    torch.manual_seed(0)
    net = build(model)
    first, second = (NativeNetwork(model, net, max_batch=16, seed=3) for _ in range(2))
    a, b = first.forward(images), first.forward(images)
    assert not torch.equal(a, b)
    assert torch.equal(a, second.forward(images))
    assert torch.equal(b, second.forward(images))


def test_a_nan_stays_one() -> None:
    model = ModelConfig(
        blocks=(ConvBlock(channels=12, then=("relu", "batch_norm")), PoolBlock(kind="pool", size=2)),
        head=GapHead(),
    )
    native = NativeNetwork(model, build(model), max_batch=4, seed=0)
    for row, column in itertools.product((12, 13), repeat=2):  # each place of a pooling window
        images = torch.randn(4, 1, 28, 28)
        images[2, 0, row, column] = float("nan")
        loss, _ = native.train_batch(images, torch.zeros(4, dtype=torch.long), label_smoothing=0.0)
        assert torch.isnan(loss)


def test_a_batch_too_large_is_refused() -> None:
    model = ModelConfig(blocks=(ConvBlock(channels=12),), head=GapHead())
    native = NativeNetwork(model, build(model), max_batch=16, seed=0)
    with pytest.raises(ValueError, match="a batch of 17 images"):
        native.forward(torch.randn(17, 1, 28, 28))


def test_both_engines_learn_alike(digits: ResidentData) -> None:
    step = next(step for step in all_steps() if step.name == "b-cyclic 5")
    recipe = Recipe(model=step.model, training=step.training.model_copy(update={"epochs": 3}))
    native, reference = (list(train(recipe, digits, seed=1, backend=Backend(engine=engine))) for engine in ENGINES)
    assert [r.lr for r in native] == [r.lr for r in reference]
    # Weights, order and augmentation are the same; masks differ, and a few hundred images measure.
    assert abs(native[-1].train_loss - reference[-1].train_loss) < 0.15
    assert min(native[-1].val_accuracy, reference[-1].val_accuracy) > 0.8


@pytest.mark.parametrize(("n", "most"), [(1, 5), (10, 4), (24, 5), (7, 7), (13, 4)])
def test_split_covers_everything_once(n: int, most: int) -> None:
    covered = [
        first + part * size + i
        for first, parts, size in split(n, most)
        for part in range(parts)
        for i in range(size)
    ]
    assert covered == list(range(n))
    assert max(size for _, _, size in split(n, most)) <= most
