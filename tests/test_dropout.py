"""The cheap masks are dropout: right rate, right scale, right grouping."""

import pytest
import torch
from torch import nn

from drill_models.dropout import MaskDropout


def _layer(rate: float, channels: bool = False) -> MaskDropout:
    torch.manual_seed(0)
    return MaskDropout(rate, channels=channels)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_rate_and_scale_of_elements(rate: float) -> None:
    out = _layer(rate)(torch.ones(100, 10, 30, 30))
    n = out.numel()
    dropped = int((out == 0).sum())
    # Five standard deviations of a binomial count.
    assert abs(dropped - rate * n) < 5 * (n * rate * (1 - rate)) ** 0.5
    assert torch.allclose(out[out != 0], torch.tensor(1 / (1 - rate)))


def test_whole_channels_go_together() -> None:
    out = _layer(0.3, channels=True)(torch.ones(400, 20, 4, 4))
    per_channel = (out == 0).float().mean((2, 3))
    assert set(per_channel.unique().tolist()) == {0.0, 1.0}
    assert abs(float(per_channel.mean()) - 0.3) < 0.03


def test_masks_change_from_call_to_call_and_repeat_with_the_seed() -> None:
    x = torch.ones(4, 3, 7, 7)
    first, second = _layer(0.5), _layer(0.5)
    a, b = first(x), first(x)
    assert not torch.equal(a, b)
    assert torch.equal(a, second(x))
    assert torch.equal(b, second(x))


def test_evaluation_is_the_identity() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert _layer(0.5).eval()(x) is x


def test_gradient_passes_only_what_was_kept() -> None:
    x = torch.ones(2, 2, 8, 8, requires_grad=True)
    out = _layer(0.5)(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_elements_are_independent_like_pytorchs() -> None:
    """Neighbours are dropped together no more often than chance has it."""
    out = _layer(0.5)(torch.ones(1, 1, 1000, 1000))[0, 0] == 0
    together = float((out[:, 1:] & out[:, :-1]).float().mean())
    reference = nn.Dropout(0.5)(torch.ones(1000, 1000)) == 0
    expected = float((reference[:, 1:] & reference[:, :-1]).float().mean())
    assert abs(together - 0.25) < 0.003
    assert abs(expected - 0.25) < 0.003
