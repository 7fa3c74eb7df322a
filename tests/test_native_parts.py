"""Native kernels of the parts of free-form networks: the same numbers as PyTorch's layers."""

from typing import Literal

import pytest
import torch

from drill_models.backend import Backend
from drill_models.build import build
from drill_models.errors import DrillError
from drill_models.native.compile import Processor, processors
from drill_models.native.network import NativeNetwork
from drill_models.native.plan import Unsupported, make_plan
from drill_models.networks import Network, engine_for, make_network
from drill_models.step import ConvBlock, Dropout, GapHead, InnerOperation, ModelConfig, Operation, PoolBlock
from drill_models.torch_network import TorchNetwork
from tests.agreement import assert_agree
from tests.parts import every_part

every_width = pytest.mark.parametrize("target", processors(), ids=lambda target: f"{target.lanes} lanes")
ACTIVATIONS: tuple[InnerOperation, ...] = ("relu", "prelu", "hard_swish")
OWN = processors()[0]
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def _orders(activation: InnerOperation) -> list[tuple[Operation, ...]]:
    return [
        (activation,),
        ("batch_norm", activation),
        (activation, "batch_norm"),
        ("batch_norm", "dropout", activation),
        (activation, "dropout", "batch_norm"),
    ]


@every_activation
@pytest.mark.parametrize("order", range(5))
def test_activations_in_every_place(activation: InnerOperation, order: int) -> None:
    then = _orders(activation)[order]
    blocks = (
        ConvBlock(channels=5, padding=1, then=then),
        PoolBlock(kind="pool", size=3),
        ConvBlock(channels=7, then=then),
    )
    dropout = Dropout(rate=0.3) if "dropout" in then else None
    assert_agree(ModelConfig(blocks=blocks, dropout=dropout, head=GapHead()), 20)


@every_width
@every_activation
def test_activations_at_every_width(activation: InnerOperation, target: Processor) -> None:
    blocks = (
        ConvBlock(channels=5, padding=1, then=("batch_norm", activation)),
        PoolBlock(kind="pool", size=2),
        ConvBlock(channels=5, padding=1, residual=True, then=(activation, "batch_norm")),
    )
    assert_agree(ModelConfig(blocks=blocks, head=GapHead(classifier="linear")), 21, target=target)


@pytest.mark.parametrize(
    ("size", "target"), [(2, OWN), (3, OWN), *((4, width) for width in processors())], ids=str
)
def test_average_pooling(size: int, target: Processor) -> None:
    pool = PoolBlock(kind="pool", size=size, mode="average")
    blocks: tuple[ConvBlock | PoolBlock, ...] = (
        ConvBlock(channels=5, padding=1, then=("batch_norm", "relu")),
        pool,
        ConvBlock(channels=5, padding=1, residual=True, then=("relu",)),
        pool,
    )
    assert_agree(ModelConfig(blocks=blocks, head=GapHead()), 21, target=target)


def test_average_pooling_twice_is_once() -> None:
    pools = tuple(PoolBlock(kind="pool", size=size, mode="average") for size in (2, 3))
    blocks: tuple[ConvBlock | PoolBlock, ...] = (ConvBlock(channels=4, then=("batch_norm",)), *pools)
    assert_agree(ModelConfig(blocks=blocks, head=GapHead()), 9)


@pytest.mark.parametrize("modes", [("max", "average"), ("average", "max")])
def test_pooling_of_another_pooling_falls_back(modes: tuple[Literal["max", "average"], ...]) -> None:
    pools = tuple(PoolBlock(kind="pool", size=2, mode=mode) for mode in modes)
    model = ModelConfig(blocks=(ConvBlock(channels=4), *pools), head=GapHead())
    with pytest.raises(Unsupported):
        make_plan(model)
    assert engine_for(model, Backend()) == "torch"
    assert isinstance(make_network(model, Backend(), batch=4, max_batch=4, seed=0), TorchNetwork)
    with pytest.raises(DrillError, match="average"):
        make_network(model, Backend(engine="native"), batch=4, max_batch=4, seed=0)


def _windows() -> list[tuple[int, int, Processor]]:
    """Kernel and padding: every pair at the processor's own width, one at the narrower ones."""
    pairs = [(1, 0), (3, 0), (3, 1), (5, 1), (5, 2), (7, 3)]
    return [(*pair, OWN) for pair in pairs] + [(3, 1, width) for width in processors()[1:]]


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize(("kernel", "padding", "target"), _windows(), ids=str)
def test_strides(kernel: int, padding: int, separable: bool, target: Processor) -> None:
    """From an odd and from an even number of pixels, as the first layer and behind others."""
    strided = ConvBlock(
        channels=6, kernel=kernel, padding=padding, stride=2, separable=separable, then=("batch_norm", "relu")
    )
    blocks = (
        ConvBlock(channels=4, padding=1, stride=2, then=("batch_norm", "relu")),
        ConvBlock(channels=5, kernel=3, padding=1, then=("relu",)),
        strided,
        strided,
    )
    assert_agree(ModelConfig(blocks=blocks, head=GapHead()), 21, target=target)
    even = (ConvBlock(channels=4, kernel=5, then=("relu",)), PoolBlock(kind="pool", size=2), strided)
    assert_agree(ModelConfig(blocks=even, head=GapHead()), 5, target=target)


@pytest.mark.parametrize(
    ("kernel", "activation", "target"),
    [
        (5, "relu", OWN),
        (3, "hard_swish", OWN),
        *((3, "prelu", width) for width in processors()),
    ],
    ids=str,
)
def test_inverted_bottlenecks(kernel: int, activation: InnerOperation, target: Processor) -> None:
    def block(channels: int, *, expansion: int, stride: int = 1, residual: bool = False) -> ConvBlock:
        return ConvBlock(
            channels=channels,
            kernel=kernel,
            padding=kernel // 2,
            stride=stride,
            separable=True,
            expansion=expansion,
            residual=residual,
            between=("batch_norm", activation),
            then=("batch_norm",),
        )

    blocks = (
        ConvBlock(channels=4, padding=1, then=("batch_norm", activation)),
        block(4, expansion=2, residual=True),
        block(6, expansion=3, stride=2),
        block(6, expansion=6, residual=True),
        PoolBlock(kind="pool", size=2),
    )
    assert_agree(ModelConfig(blocks=blocks, head=GapHead()), 18, target=target)


@pytest.mark.parametrize("between", [("batch_norm",), ("relu",), ("hard_swish", "batch_norm")])
def test_operations_between_depthwise_and_pointwise(between: tuple[InnerOperation, ...]) -> None:
    block = ConvBlock(
        channels=5, padding=1, separable=True, residual=True, between=between, then=("batch_norm", "relu")
    )
    assert_agree(ModelConfig(blocks=(ConvBlock(channels=5, then=("relu",)), block), head=GapHead()), 17)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("kernel", [1, 5])
def test_kernels_of_one_and_five(kernel: int, separable: bool) -> None:
    block = ConvBlock(
        channels=6,
        kernel=kernel,
        padding=kernel // 2,
        separable=separable,
        residual=True,
        then=("batch_norm", "relu"),
    )
    blocks = (ConvBlock(channels=6, then=("relu",)), PoolBlock(kind="pool", size=2), block, block)
    assert_agree(ModelConfig(blocks=blocks, head=GapHead()), 17)


@every_activation
def test_a_nan_stays_one(activation: InnerOperation) -> None:
    blocks = (
        ConvBlock(channels=12, stride=2, then=(activation, "batch_norm")),
        PoolBlock(kind="pool", size=2, mode="average"),
    )
    model = ModelConfig(blocks=blocks, head=GapHead())
    native = NativeNetwork(model, build(model), max_batch=4, seed=0)
    images = torch.randn(4, 1, 28, 28)
    images[2, 0, 12, 12] = float("nan")
    loss, _ = native.train_batch(images, torch.zeros(4, dtype=torch.long), label_smoothing=0.0)
    assert torch.isnan(loss)


def _both() -> tuple[NativeNetwork, TorchNetwork]:
    model = every_part()
    torch.manual_seed(0)
    first, second = (build(model) for _ in range(2))
    second.load_state_dict(first.state_dict())
    return NativeNetwork(model, first, max_batch=20, seed=0), TorchNetwork(second, Backend(), batch=20)


def test_evaluation_follows_the_parameters() -> None:
    """Before any training, and after a change of all parameters: nothing of an earlier pass is left."""
    native, reference = _both()
    images = torch.randn(23, 1, 28, 28)
    assert torch.allclose(native.scores(images), reference.scores(images), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        for parameter in native.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    expected = native.module().eval()(images)
    assert torch.allclose(native.scores(images), expected, rtol=1e-3, atol=1e-4)


def test_training_steps_give_the_same_network() -> None:
    native, reference = _both()
    networks: tuple[Network, ...] = (native, reference)
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.02, weight_decay=1e-4) for net in networks]
    for _ in range(3):
        images, labels = torch.randn(20, 1, 28, 28), torch.randint(0, 10, (20,))
        for net, optimizer in zip(networks, optimizers, strict=True):
            net.train_batch(images, labels, label_smoothing=0.1)
            optimizer.step()
    trained, expected = native.module().state_dict(), reference.module().state_dict()
    for name, value in trained.items():
        if "num_batches" not in name:  # the kernels do not count them
            assert torch.allclose(value, expected[name], rtol=2e-3, atol=1e-4), name
    slopes = [value for value in trained.values() if value.shape == (1,)]
    assert len(slopes) == 3
    assert any(float(slope) != 0.25 for slope in slopes)


@every_width
def test_rounding_counts_more_where_a_batch_hardly_varies(target: Processor) -> None:
    """In the second batch, batch norm sees three values a channel, with a variance of 2e-5 in one."""
    blocks = (
        ConvBlock(channels=11, kernel=1, stride=2),
        ConvBlock(channels=8, padding=1, stride=2),
        PoolBlock(kind="pool", size=4),
        ConvBlock(
            channels=8, kernel=1, separable=True, residual=True, expansion=2, between=("batch_norm", "relu")
        ),
    )
    assert_agree(ModelConfig(num_classes=26, blocks=blocks, head=GapHead()), 6, target=target)
