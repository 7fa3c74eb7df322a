"""Skeletons: where convolutions, pools and odd layers stand, with widths and toggles left open.

A skeleton is a YAML file; those of `spaces/skeleton_files` come with the package, and a search adds a
user's own by `--skeleton FILE`. No torch, no Optuna.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from drill_models import yaml_io
from drill_models.count import count
from drill_models.errors import BudgetError, StepError
from drill_models.part import Part, Text
from drill_models.step import (
    ConvBlock,
    Dropout,
    FullConvHead,
    GapHead,
    ModelConfig,
    Operation,
    PoolBlock,
    check_window,
    odd,
)
from spaces.budget import Budget

WidthName = Literal["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"]
WIDTH_NAMES: tuple[WidthName, ...] = ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8")
MIN_WIDTH, MAX_WIDTH = 4, 128
"""Channels that a search gives a convolution, both ends included."""

NormPlace = Literal["none", "before_relu", "after_relu"]
HeadKind = Literal["gap", "full_conv"]


class SkeletonConv(Part):
    """A convolution whose channels are the width of that name; blocks of one name have one width.

    It is followed by ReLU, and by batch norm and dropout where the point has them, unless it is `bare`.
    With `residual`, its input is added where as many channels come in as go out.
    """

    kind: Literal["conv"]
    width: WidthName
    kernel: int = Field(default=3, ge=1, le=15)
    padding: int = Field(default=0, ge=0, le=7)
    separable: bool = False
    residual: bool = False
    bare: bool = False
    dropout: bool = Field(default=True, description="Whether dropout follows, where the point has dropout.")

    _odd = field_validator("kernel")(odd)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_window(self.kernel, self.padding, residual=self.residual)
        return self


SkeletonBlock = Annotated[SkeletonConv | PoolBlock, Field(discriminator="kind")]


class Skeleton(Part):
    """A family of networks.

    `gap_classifier` is what follows where the point's head is global average pooling. `dropout_place` says
    where in a block dropout stands.
    """

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    summary: Text
    blocks: tuple[SkeletonBlock, ...] = Field(min_length=1, max_length=64)
    gap_classifier: Literal["conv1x1", "linear", "none"] = "conv1x1"
    dropout_place: Literal["end", "before_relu"] = "end"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not any(isinstance(block, SkeletonConv) for block in self.blocks):
            raise ValueError("blocks must hold at least one convolution")
        # Builds the smallest network once: sizes, kernels and paddings are checked by the model itself.
        smallest_model(self, num_classes=10)
        return self

    @property
    def widths(self) -> tuple[WidthName, ...]:
        """The widths that it uses, in the order of the layers."""
        return tuple(dict.fromkeys(block.width for block in self.blocks if isinstance(block, SkeletonConv)))


def assemble(
    skeleton: Skeleton,
    widths: Mapping[str, int],
    *,
    batch_norm: NormPlace,
    head: HeadKind,
    dropout: Dropout | None,
    num_classes: int,
) -> ModelConfig:
    """The network that a skeleton gives with these widths and toggles.

    Where pooled channels are the logits, the last convolution gets at least `num_classes` of them.

    Raises:
        ValueError: The skeleton's own sizes do not fit together.
    """
    last = max(i for i, block in enumerate(skeleton.blocks) if isinstance(block, SkeletonConv))
    logits = head == "gap" and skeleton.gap_classifier == "none"
    blocks: list[ConvBlock | PoolBlock] = []
    channels = 1
    for i, block in enumerate(skeleton.blocks):
        if isinstance(block, PoolBlock):
            blocks.append(block)
            continue
        width = widths[block.width]
        if i == last and logits:
            width = max(width, num_classes)
        blocks.append(
            ConvBlock(
                channels=width,
                kernel=block.kernel,
                padding=block.padding,
                separable=block.separable,
                residual=block.residual and width == channels,
                then=_then(block, skeleton, batch_norm, dropout is not None),
            )
        )
        channels = width
    used = any(isinstance(block, ConvBlock) and "dropout" in block.then for block in blocks)
    return ModelConfig(
        num_classes=num_classes,
        dropout=dropout if used else None,
        blocks=tuple(blocks),
        head=FullConvHead(kind="full_conv")
        if head == "full_conv"
        else GapHead(classifier=skeleton.gap_classifier),
    )


def _then(block: SkeletonConv, skeleton: Skeleton, batch_norm: NormPlace, dropout: bool) -> tuple[Operation, ...]:
    if block.bare:
        return ()
    operations: list[Operation]
    match batch_norm:
        case "none":
            operations = ["relu"]
        case "before_relu":
            operations = ["batch_norm", "relu"]
        case "after_relu":
            operations = ["relu", "batch_norm"]
    if dropout and block.dropout:
        at = len(operations) if skeleton.dropout_place == "end" else operations.index("relu")
        operations.insert(at, "dropout")
    return tuple(operations)


def smallest_model(skeleton: Skeleton, num_classes: int) -> ModelConfig:
    """The network of a skeleton with the fewest parameters: least widths, no batch norm, the smaller head."""
    widths: dict[str, int] = dict.fromkeys(WIDTH_NAMES, MIN_WIDTH)
    heads: tuple[HeadKind, ...] = ("gap", "full_conv")
    models = [
        assemble(skeleton, widths, batch_norm="none", head=head, dropout=None, num_classes=num_classes)
        for head in heads
    ]
    return min(models, key=lambda model: count(model).n_params)


def fits_some(skeletons: Sequence[Skeleton], budget: Budget, num_classes: int) -> bool:
    """Whether some network of the space keeps the budget."""
    return any(budget.admits(smallest_model(skeleton, num_classes)) for skeleton in skeletons)


def check_budget(skeletons: Sequence[Skeleton], budget: Budget, num_classes: int) -> None:
    """Checks that some network of the space keeps the budget.

    Raises:
        BudgetError: None does; says the smallest there is.
    """
    if fits_some(skeletons, budget, num_classes):
        return
    floors = [(budget.excess(smallest_model(s, num_classes)), s.name) for s in skeletons]
    limits = {
        "n_params": (budget.max_params, "--budget", "parameters"),
        "macs": (budget.max_macs, "--max-macs", "multiply-adds"),
        "activations": (budget.max_activations, "--max-activations", "activations"),
    }
    for key, (limit, option, unit) in limits.items():
        if limit is None:
            continue
        excess, name = min((excess[key], name) for excess, name in floors)
        if excess > 0:
            raise BudgetError(
                f"{option} {limit}: no network of the space is that small; the smallest (skeleton {name}) "
                f"has {limit + excess:,} {unit}"
            )
    raise BudgetError(f"no network of the space keeps all limits at once: {budget}")


def schema_text() -> str:
    """The JSON Schema of skeleton files."""
    return yaml_io.schema_text(Skeleton)


def load_skeletons(own: Sequence[Path] = ()) -> tuple[Skeleton, ...]:
    """The skeletons that come with the package, sorted by name, then the user's own.

    Raises:
        StepError: A file is malformed, or a name stands twice.
    """
    packaged = sorted((Path(__file__).parent / "skeleton_files").glob("*.yaml"))
    skeletons: list[Skeleton] = []
    for path in (*packaged, *own):
        skeleton = yaml_io.read(path, Skeleton)
        if skeleton.name in (known.name for known in skeletons):
            raise StepError(f"{path}: name {skeleton.name!r} is taken by another skeleton")
        skeletons.append(skeleton)
    return tuple(skeletons)
