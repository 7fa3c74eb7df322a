"""A network with every part of a free-form network, for tests."""

from drill_models.step import ConvBlock, GapHead, ModelConfig, PoolBlock


def every_part() -> ModelConfig:
    """Stride 2, PReLU, hard swish, average pooling, inverted bottlenecks, operations between convolutions."""
    return ModelConfig(
        blocks=(
            ConvBlock(channels=4, kernel=5, padding=2, stride=2, then=("batch_norm", "prelu")),
            ConvBlock(
                channels=4,
                padding=1,
                separable=True,
                residual=True,
                expansion=3,
                between=("batch_norm", "hard_swish"),
                then=("batch_norm",),
            ),
            PoolBlock(kind="pool", size=2, mode="average"),
            ConvBlock(
                channels=6,
                padding=1,
                separable=True,
                stride=2,
                between=("batch_norm", "prelu"),
                then=("batch_norm", "relu"),
            ),
            ConvBlock(channels=12, kernel=1, then=("prelu", "batch_norm")),
            PoolBlock(kind="pool", size=2),
        ),
        head=GapHead(classifier="linear"),
    )
