"""Hypothesis strategies for models and recipes that the schema admits."""

from hypothesis import strategies as st

from drill_models.datasets import IMAGE_SIZE
from drill_models.step import (
    ConvBlock,
    Dropout,
    FullConvHead,
    GapHead,
    InnerOperation,
    ModelConfig,
    Operation,
    PoolBlock,
)
from drill_models.train_config import (
    SGD,
    Adam,
    AdamW,
    Augment,
    CosineSchedule,
    ExponentialSchedule,
    NoSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
    TrainConfig,
)

_ACTIVATIONS: list[InnerOperation] = ["relu", "prelu", "hard_swish"]


def _some(*others: Operation) -> st.SearchStrategy[tuple[Operation, ...]]:
    """Any of an activation and these others, in any order."""
    return st.sampled_from(_ACTIVATIONS).flatmap(
        lambda activation: st.permutations([activation, *others]).flatmap(
            lambda order: st.integers(0, len(order)).map(lambda n: tuple(order[:n]))
        )
    )


operations = _some("batch_norm", "dropout")
between = _some("batch_norm")


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    """Any network of up to seven blocks that fits into 28 x 28 pixels."""
    num_classes = draw(st.sampled_from([10, 26]))
    size, channels = IMAGE_SIZE, 1
    blocks: list[ConvBlock | PoolBlock] = []
    for _ in range(draw(st.integers(1, 7))):
        if size >= 4 and draw(st.integers(0, 4)) == 0:
            pool = draw(st.integers(2, min(4, size)))
            blocks.append(PoolBlock(kind="pool", size=pool, mode=draw(st.sampled_from(["max", "average"]))))
            size //= pool
            continue
        kernel = draw(st.sampled_from([k for k in (1, 3, 5, 7) if k <= size]))
        padding = draw(st.integers(0, kernel // 2))
        same = padding == kernel // 2
        residual = same and draw(st.booleans())
        width = channels if residual else draw(st.integers(1, 12))
        stride = 1 if residual else draw(st.sampled_from([1, 1, 2]))
        separable = draw(st.booleans())
        blocks.append(
            ConvBlock(
                channels=width,
                kernel=kernel,
                padding=padding,
                separable=separable,
                residual=residual,
                then=draw(operations),
                stride=stride,
                expansion=draw(st.sampled_from([1, 1, 2, 3])) if separable else 1,
                between=draw(between) if separable else (),  # type: ignore[arg-type]
            )
        )
        channels, size = width, (size + 2 * padding - kernel) // stride + 1
    heads: list[GapHead | FullConvHead] = [GapHead(), GapHead(classifier="linear"), FullConvHead(kind="full_conv")]
    if channels >= num_classes:
        heads.append(GapHead(classifier="none"))
    named = any(isinstance(b, ConvBlock) and "dropout" in b.then for b in blocks)
    dropout = Dropout(rate=draw(st.floats(0.01, 0.5)), per=draw(st.sampled_from(["element", "channel"])))
    return ModelConfig(
        num_classes=num_classes,
        dropout=dropout if named else None,
        blocks=tuple(blocks),
        head=draw(st.sampled_from(heads)),
    )


OPTIMIZERS = (
    SGD(kind="sgd", lr=0.01, momentum=0.0),
    SGD(kind="sgd", lr=0.01, momentum=0.9),
    SGD(kind="sgd", lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4),
    Adam(kind="adam", lr=0.001, weight_decay=1e-4),
    AdamW(kind="adamw", lr=0.001, weight_decay=0.01),
)
SCHEDULES = (
    NoSchedule(kind="none"),
    StepSchedule(kind="step", every=1, gamma=0.1),
    ExponentialSchedule(kind="exponential", gamma=0.5),
    CosineSchedule(kind="cosine"),
    OneCycleSchedule(kind="onecycle"),
    OneCycleSchedule(kind="onecycle", cycle_momentum=False),
    PlateauSchedule(kind="plateau", factor=0.1, patience=0),
)
AUGMENTS = (
    None,
    Augment(rotation=10, interpolation="nearest", fill=1),
    Augment(rotation=10, translation=2, scale=0.1),
)


def training(optimizer: int, schedule: int, augment: int, epochs: int = 2) -> TrainConfig:
    """One of each, by number."""
    return TrainConfig(
        epochs=epochs,
        batch_size=64,
        optimizer=OPTIMIZERS[optimizer],
        schedule=SCHEDULES[schedule],
        augment=AUGMENTS[augment],
        label_smoothing=0.1 * (augment % 2),
    )
