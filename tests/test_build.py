"""Built networks: what the configuration says, in its order."""

import torch
from torch import nn

from drill_models.build import Residual, build
from drill_models.step import ConvBlock, Dropout, GapHead, ModelConfig


def _types(block: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in block.children()]


def test_operations_stand_in_the_named_order() -> None:
    model = ModelConfig(
        dropout=Dropout(rate=0.1),
        blocks=(
            ConvBlock(channels=4, then=("relu", "batch_norm", "dropout")),
            ConvBlock(channels=4, then=("batch_norm", "dropout", "relu")),
            ConvBlock(channels=4),
        ),
        head=GapHead(),
    )
    net = build(model)
    assert _types(net[0]) == ["Conv2d", "ReLU", "BatchNorm2d", "Dropout"]
    assert _types(net[1]) == ["Conv2d", "BatchNorm2d", "Dropout", "ReLU"]
    assert _types(net[2]) == ["Conv2d"]
    assert all(m.bias is None for m in net.modules() if isinstance(m, nn.Conv2d))


def test_dropout_kind_reaches_the_layer() -> None:
    blocks = (ConvBlock(channels=4, then=("dropout",)),)
    for per, kind in (("element", nn.Dropout), ("channel", nn.Dropout2d)):
        net = build(ModelConfig(dropout=Dropout(rate=0.3, per=per), blocks=blocks, head=GapHead()))  # type: ignore[arg-type]
        (layer,) = [m for m in net.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]
        assert isinstance(layer, kind)
        assert layer.p == 0.3


def test_residual_adds_the_input() -> None:
    block = Residual(nn.Conv2d(2, 2, 3, padding=1))
    x = torch.randn(1, 2, 5, 5)
    assert torch.equal(block(x), x + block.body(x))


def test_separable_is_depthwise_then_pointwise() -> None:
    blocks = (ConvBlock(channels=3), ConvBlock(channels=6, padding=1, separable=True))
    _, block, *_ = build(ModelConfig(blocks=blocks, head=GapHead()))
    depthwise, pointwise = block.children()
    assert isinstance(depthwise, nn.Conv2d)
    assert (depthwise.groups, depthwise.weight.shape) == (3, (3, 1, 3, 3))
    assert isinstance(pointwise, nn.Conv2d)
    assert pointwise.weight.shape == (6, 3, 1, 1)


def test_same_seed_same_weights() -> None:
    model = ModelConfig(blocks=(ConvBlock(channels=4),), head=GapHead(classifier="linear"))
    torch.manual_seed(3)
    first = build(model).state_dict()
    torch.manual_seed(3)
    second = build(model).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
