"""The step: one page of a drill, as frozen values.

A step is target, model, training, result and analysis. Shapes and units are stated here, once:
images are (N, 1, 28, 28); accuracies are fractions from 0 to 1; times are seconds; angles are
degrees; translations are pixels; `n_params` is the number of trainable parameters of a network.
"""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from drill_models.datasets import IMAGE_SIZE, DatasetName, dataset_facts
from drill_models.part import Accuracy, GrownPart, Line, Part, Text
from drill_models.result import Result, Verdict
from drill_models.train_config import TrainConfig

FORMAT: Literal[1] = 1
"""Version of the YAML format, written into every file as `format`."""

Width = Annotated[int, Field(ge=1, le=2048, description="Channels.")]


# --- model -----------------------------------------------------------------------------------

InnerOperation = Literal["batch_norm", "relu", "prelu", "hard_swish"]
Operation = Literal[InnerOperation, "dropout"]
"""`prelu` is ReLU with one trained slope below zero, which all channels share."""

ACTIVATIONS: frozenset[Operation] = frozenset({"relu", "prelu", "hard_swish"})


def odd(kernel: int) -> int:
    """A kernel's size, if it is odd; raises `ValueError` where it is not."""
    if kernel % 2 == 0:
        raise ValueError("must be odd")
    return kernel


def check_operations(field: str, operations: tuple[Operation, ...]) -> None:
    """Raises `ValueError` where an operation stands twice, or there is more than one activation."""
    if len(set(operations)) != len(operations):
        raise ValueError(f"{field} must name each operation once, got {list(operations)}")
    if len(ACTIVATIONS.intersection(operations)) > 1:
        raise ValueError(f"{field} must name at most one activation, got {list(operations)}")


def check_window(kernel: int, padding: int, *, residual: bool) -> None:
    """Raises `ValueError` where a padding does not go with its kernel, or not with an identity path."""
    half = kernel // 2
    if padding > half:
        raise ValueError(f"padding must be at most kernel // 2 = {half}, got {padding}")
    if residual and padding != half:
        raise ValueError(f"residual needs padding = kernel // 2 = {half}, got {padding}")


class ConvBlock(GrownPart):
    """A convolution (no bias) and what follows it.

    With `separable`, a depthwise kernel x kernel convolution (no bias) and a 1x1 convolution to
    `channels` stand in its place. With `residual`, the block's input is added to its output; this
    needs as many channels out as in, "same" padding and stride 1. Dropout needs the model's `dropout`.
    With `expansion` above 1, a 1x1 convolution first makes so many times as many channels: an inverted
    bottleneck (Sandler et al., https://arxiv.org/abs/1801.04381). `between` is what follows each
    convolution of a separable block but the last.
    """

    later = frozenset({"stride", "expansion", "between"})

    kind: Literal["conv"] = "conv"
    channels: Width
    kernel: int = Field(default=3, ge=1, le=15, description="Height and width in pixels, odd.")
    padding: int = Field(default=0, ge=0, le=7, description="Pixels of zeros on each side.")
    separable: bool = False
    residual: bool = False
    then: tuple[Operation, ...] = Field(
        default=(), max_length=3, description="Operations after the convolution, in this order."
    )
    stride: int = Field(default=1, ge=1, le=2, description="Pixels from one window to the next.")
    expansion: int = Field(
        default=1,
        ge=1,
        le=6,
        description="Channels of a separable block's depthwise convolution, per input channel.",
    )
    between: tuple[InnerOperation, ...] = Field(
        default=(), max_length=2, description="Operations between a separable block's convolutions, in this order."
    )

    _odd = field_validator("kernel")(odd)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_window(self.kernel, self.padding, residual=self.residual)
        check_operations("then", self.then)
        check_operations("between", self.between)
        if self.residual and self.stride != 1:
            raise ValueError(f"residual needs stride 1, got {self.stride}")
        if not self.separable and self.expansion != 1:
            raise ValueError(f"expansion needs a separable block, got {self.expansion}")
        if not self.separable and self.between:
            raise ValueError(f"between needs a separable block, got {list(self.between)}")
        return self


class PoolBlock(GrownPart):
    """Pooling over `size` x `size` pixels, stride `size`, no padding: their maximum or average."""

    later = frozenset({"mode"})

    kind: Literal["pool"]
    size: int = Field(default=2, ge=2, le=4)
    mode: Literal["max", "average"] = "max"


Block = Annotated[ConvBlock | PoolBlock, Field(discriminator="kind")]


class Dropout(Part):
    """Dropout of every block that names it: of single elements, or of whole channels (Dropout2d)."""

    rate: float = Field(gt=0, lt=1)
    per: Literal["element", "channel"] = "element"


class GapHead(Part):
    """Global average pooling, then logits.

    `conv1x1` has no bias, `linear` has one; with `none` the pooled channels are the logits.
    """

    kind: Literal["gap"] = "gap"
    classifier: Literal["conv1x1", "linear", "none"] = "conv1x1"


class FullConvHead(Part):
    """A convolution (no bias, no padding) as large as the last feature map, straight to the logits."""

    kind: Literal["full_conv"]


Head = Annotated[GapHead | FullConvHead, Field(discriminator="kind")]


class ModelConfig(Part):
    """A network from (N, 1, 28, 28) images to (N, logits) scores.

    `logits` is `num_classes`, or the last block's channels where the head's classifier is `none`.
    Weights start from PyTorch's default initialisation.
    """

    num_classes: int = Field(default=10, ge=2, le=1000)
    dropout: Dropout | None = None
    blocks: tuple[Block, ...] = Field(min_length=1, max_length=64)
    head: Head

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        shapes = feature_shapes(self)
        channels = 1
        for i, block in enumerate(self.blocks):
            if isinstance(block, ConvBlock) and block.residual and block.channels != channels:
                raise ValueError(
                    f"blocks[{i}].residual needs as many channels out as in ({channels}), got {block.channels}"
                )
            channels = shapes[i][0]
        named = any(isinstance(b, ConvBlock) and "dropout" in b.then for b in self.blocks)
        if named and self.dropout is None:
            raise ValueError("dropout must state a rate, because a block names dropout")
        if self.dropout is not None and not named:
            raise ValueError("dropout is set, but no block names dropout")
        if self.head == GapHead(classifier="none") and channels < self.num_classes:
            raise ValueError(
                f"head.classifier none needs at least {self.num_classes} channels in the last block, "
                f"got {channels}"
            )
        return self


def feature_shapes(model: ModelConfig) -> tuple[tuple[int, int, int], ...]:
    """Output shape (channels, height, width) after each block.

    Raises:
        ValueError: A block's input is smaller than its kernel or pool.
    """
    channels, size = 1, IMAGE_SIZE
    shapes = []
    for i, block in enumerate(model.blocks):
        match block:
            case ConvBlock():
                channels = block.channels
                out = (size + 2 * block.padding - block.kernel) // block.stride + 1
            case PoolBlock():
                out = size // block.size
        if out < 1:
            raise ValueError(f"blocks[{i}] needs an image larger than the {size} x {size} that reaches it")
        size = out
        shapes.append((channels, size, size))
    return tuple(shapes)


# --- the recipe ------------------------------------------------------------------------------


class Recipe(Part):
    """What decides a training run, apart from data and seed: the network and how it is trained."""

    model: ModelConfig
    training: TrainConfig


# --- the page --------------------------------------------------------------------------------


class Target(Part):
    """What the step is for, and what it is judged by."""

    purpose: Text
    accuracy: Accuracy
    max_params: int = Field(ge=1, le=10**9, description="Trainable parameters, at most.")
    epochs: int = Field(ge=1, le=1000, description="At most.")


class Source(Part):
    """Where a published step comes from."""

    document: Text
    url: Text | None = None


class Step(Part):
    """One page of a drill."""

    format: Literal[1] = FORMAT
    name: Annotated[Line, Field(min_length=1, max_length=200)]
    provenance: Literal["published", "reconstructed", "searched", "own"]
    dataset: DatasetName
    target: Target
    model: ModelConfig
    training: TrainConfig
    result: Result | None = None
    analysis: Text = ""
    source: Source | None = None

    @model_validator(mode="after")
    def _enough_classes(self) -> Self:
        needed = dataset_facts(self.dataset).num_classes
        if self.model.num_classes < needed:
            raise ValueError(
                f"model.num_classes must be at least {needed} for {self.dataset}, got {self.model.num_classes}"
            )
        return self

    @property
    def recipe(self) -> Recipe:
        """What decides a training run of this step."""
        return Recipe(model=self.model, training=self.training)

    @property
    def digest(self) -> str:
        """SHA-256 of data set, network and training settings, in hexadecimal digits.

        A setting at its default does not count, so that one that is added later changes nothing.
        """
        decisive = self.model_dump_json(include={"dataset", "model", "training"}, exclude_defaults=True)
        return hashlib.sha256(decisive.encode()).hexdigest()

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, if there is one and it is of what the step says now, trained for all its epochs."""
        verdict = None if self.result is None else self.result.verdict
        if verdict is None or len(verdict.runs[0].accuracies) != self.training.epochs:
            return None
        return verdict if verdict.recipe == self.digest else None
