"""Counting against the published figures, against built networks, and against what really runs."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from drill_models.build import build, count_built, n_params
from drill_models.count import count
from drill_models.hand_steps import all_steps
from drill_models.step import ConvBlock, FullConvHead, GapHead, ModelConfig, PoolBlock, Step, feature_shapes
from tests.strategies import models

PUBLISHED = {
    "a-runs 1": 194_884,
    "a-runs 2": 9_664,
    "a-runs 3": 9_816,
    "a-runs 4": 9_816,
    "a-runs 5": 9_816,
    "b-cyclic 1": 147_344,
    "b-cyclic 2": 8_872,
    "b-cyclic 3": 8_872,
    "b-cyclic 4": 8_872,
    "b-cyclic 5": 6_750,
    "c-under-20k 1": 19_552,
    "c-under-20k 2": 9_032,
    "c-under-20k 3": 9_192,
    "c-under-20k 4": 9_752,
    "d-rotation 1": 194_884,
    "d-rotation 2": 9_606,
    "d-rotation 3": 9_606,
    "d-rotation 4": 9_606,
    "d-rotation 5": 9_606,
    "e-codes 1": 7_864,
    "e-codes 2": 8_016,
    "e-codes 3": 8_016,
    "e-codes 4": 8_016,
}


def test_all_hand_steps_are_there() -> None:
    assert {step.name for step in all_steps()} == PUBLISHED.keys()


@pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.name)
def test_hand_step_has_the_published_count(step: Step) -> None:
    assert count(step.model).n_params == PUBLISHED[step.name]
    assert n_params(build(step.model)) == PUBLISHED[step.name]


@settings(max_examples=300, deadline=None)
@given(models())
def test_counted_is_built(model: ModelConfig) -> None:
    assert count(model).n_params == count_built(model)


def _really_run(model: ModelConfig) -> tuple[int, tuple[int, ...]]:
    """Multiply-accumulates and output size, measured by hooks on one real forward pass."""
    macs = 0

    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv2d):
            window = layer.weight[0].numel()
            macs += output[0].numel() * window
        elif isinstance(layer, nn.Linear):
            macs += layer.weight.numel()

    net = build(model).eval()
    for layer in net.modules():
        layer.register_forward_hook(hook)
    scores = net(torch.zeros(1, 1, 28, 28))
    return macs, tuple(scores.shape)


@settings(max_examples=100, deadline=None)
@given(models())
def test_multiply_adds_and_shapes_are_what_runs(model: ModelConfig) -> None:
    counted = count(model)
    macs, shape = _really_run(model)
    assert counted.macs == macs
    assert shape == (1, counted.layers[-1].out_shape[0])


def _field_by_gradient(model: ModelConfig) -> int:
    """Width of the input area that one output of the last block depends on."""
    blocks = []
    for block in model.blocks:
        if isinstance(block, ConvBlock):
            conv = nn.Conv2d(1, 1, block.kernel, padding=block.padding, bias=False)
            nn.init.ones_(conv.weight)
            blocks.append(conv)
        else:
            # Average instead of maximum, so that every input in the window has a gradient.
            blocks.append(nn.AvgPool2d(block.size))  # type: ignore[arg-type]
    image = torch.zeros(1, 1, 28, 28, requires_grad=True)
    out = nn.Sequential(*blocks)(image)
    centre = out.shape[-1] // 2
    out[0, 0, centre, centre].backward()
    assert image.grad is not None
    return int((image.grad[0, 0].abs().sum(0) > 0).sum())


def test_receptive_field_is_what_the_gradient_sees() -> None:
    plain: tuple[ConvBlock | PoolBlock, ...] = (
        ConvBlock(channels=1),
        PoolBlock(kind="pool"),
        ConvBlock(channels=1, kernel=5),
        ConvBlock(channels=1),
    )
    for n in range(1, len(plain) + 1):
        model = ModelConfig(blocks=plain[:n], head=GapHead())
        assert count(model).layers[n - 1].receptive_field == _field_by_gradient(model)


def test_table_of_a_small_network() -> None:
    model = ModelConfig(
        blocks=(
            ConvBlock(channels=4, padding=1, then=("relu", "batch_norm")),
            PoolBlock(kind="pool"),
            ConvBlock(channels=4, padding=1, separable=True, residual=True, then=("relu",)),
        ),
        head=FullConvHead(kind="full_conv"),
    )
    counted = count(model)
    rows = [(r.kernel, r.out_shape, r.receptive_field, r.n_params, r.macs) for r in counted.layers]
    assert rows == [
        (3, (4, 28, 28), 3, 36 + 8, 36 * 784),
        (2, (4, 14, 14), 4, 0, 0),
        (3, (4, 14, 14), 8, 36, 36 * 196),
        (1, (4, 14, 14), 8, 16, 16 * 196),
        (14, (10, 1, 1), 34, 10 * 4 * 196, 10 * 4 * 196),
    ]
    # The pool reads 4x28x28 and writes 4x14x14.
    assert counted.peak_activations == 4 * 784 + 4 * 196


def test_residual_keeps_its_input_alive() -> None:
    def peak(residual: bool) -> int:
        block = ConvBlock(channels=8, padding=1, separable=True, residual=residual)
        model = ModelConfig(blocks=(ConvBlock(channels=8, padding=1), block), head=GapHead())
        return count(model).peak_activations

    assert peak(residual=False) == 2 * 8 * 784
    assert peak(residual=True) == 3 * 8 * 784


def test_unknown_block_is_never_zero() -> None:
    model = ModelConfig(blocks=(PoolBlock(kind="pool"),), head=GapHead())
    strange = model.model_copy(update={"head": "something else"})
    with pytest.raises(TypeError, match="cannot count a head"):
        count(strange)
    assert feature_shapes(model) == ((1, 14, 14),)
