"""What the schema refuses."""

import pytest
from pydantic import ValidationError

from drill_models.result import last_three_mean
from drill_models.step import ConvBlock, Dropout, GapHead, ModelConfig, PoolBlock, feature_shapes
from drill_models.train_config import SGD


def test_values_are_frozen() -> None:
    block = ConvBlock(channels=4)
    with pytest.raises(ValidationError, match="frozen"):
        block.channels = 8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kernel": 4}, "must be odd"),
        ({"kernel": 3, "padding": 2}, "padding must be at most"),
        ({"then": ("relu", "relu")}, "each operation once"),
        ({"residual": True, "padding": 0}, "residual needs padding"),
        ({"channels": 0}, "greater than or equal to 1"),
        ({"channels": 10**9}, "less than or equal to 2048"),
    ],
)
def test_conv_block_refuses(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ConvBlock.model_validate({"kind": "conv", "channels": 8, **wrong})


def test_model_refuses_what_does_not_fit_the_image() -> None:
    blocks = (PoolBlock(kind="pool", size=4),) * 3
    with pytest.raises(ValidationError, match=r"blocks\[2\] needs an image larger than the 1 x 1"):
        ModelConfig(blocks=blocks, head=GapHead())


def test_model_refuses_a_residual_of_other_width() -> None:
    blocks = (ConvBlock(channels=8), ConvBlock(channels=4, padding=1, residual=True))
    with pytest.raises(ValidationError, match=r"blocks\[1\].residual needs as many channels out as in \(8\)"):
        ModelConfig(blocks=blocks, head=GapHead())


def test_dropout_and_its_rate_belong_together() -> None:
    named = (ConvBlock(channels=8, then=("dropout",)),)
    with pytest.raises(ValidationError, match="must state a rate"):
        ModelConfig(blocks=named, head=GapHead())
    with pytest.raises(ValidationError, match="no block names dropout"):
        ModelConfig(blocks=(ConvBlock(channels=8),), head=GapHead(), dropout=Dropout(rate=0.1))


def test_logits_need_enough_channels() -> None:
    with pytest.raises(ValidationError, match="needs at least 10 channels"):
        ModelConfig(blocks=(ConvBlock(channels=8),), head=GapHead(classifier="none"))


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValidationError, match="nesterov needs a momentum"):
        SGD(kind="sgd", lr=0.1, momentum=0, nesterov=True)


def test_feature_shapes() -> None:
    model = ModelConfig(
        blocks=(ConvBlock(channels=3), PoolBlock(kind="pool"), ConvBlock(channels=5, kernel=5, padding=2)),
        head=GapHead(),
    )
    assert feature_shapes(model) == ((3, 26, 26), (3, 13, 13), (5, 13, 13))


def test_value_is_the_mean_of_the_last_three() -> None:
    assert last_three_mean([0.1, 0.2, 0.4, 0.6]) == pytest.approx(0.4)
    assert last_three_mean([0.5]) == 0.5
