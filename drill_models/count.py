"""Parameters, multiply-accumulates and receptive fields, from the configuration alone.

Integers only, no torch. Rules: a convolution has in * out * k * k weights and no bias; batch norm has
two parameters a channel, PReLU one in all; multiply-accumulates are those of convolutions and linear
layers, for one image; the receptive field follows Dumoulin and Visin, "A guide to convolution arithmetic" (2016).
"""

from dataclasses import dataclass, replace

from drill_models.convolutions import convolutions
from drill_models.datasets import IMAGE_SIZE
from drill_models.step import ConvBlock, FullConvHead, GapHead, ModelConfig, PoolBlock, feature_shapes

Shape = tuple[int, int, int]
"""(channels, height, width) of one image."""


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of the table.

    Attributes:
        name: What the layer is, with the operations that follow it.
        kernel: Height and width of its window in pixels; 0 where it has none.
        padding: Pixels of zeros on each side.
        in_shape: Shape that reaches it.
        out_shape: Shape that leaves it.
        receptive_field: Height and width, in pixels of the input image, that one output sees.
        n_params: Trainable parameters, batch norm included.
        macs: Multiply-accumulates for one image.
        extra: Activations that must be kept beside input and output (a residual block's identity).
    """

    name: str
    kernel: int
    padding: int
    in_shape: Shape
    out_shape: Shape
    receptive_field: int
    n_params: int
    macs: int
    extra: int = 0


@dataclass(frozen=True, kw_only=True)
class Count:
    """Totals of a network for one image.

    Attributes:
        layers: The table, first layer first.
        n_params: Trainable parameters.
        macs: Multiply-accumulates.
        peak_activations: The most numbers that are alive at once when layers run one after another:
            a layer's input and output, and the identity that a residual block keeps.
    """

    layers: tuple[LayerRow, ...]
    n_params: int
    macs: int
    peak_activations: int


def volume(shape: Shape) -> int:
    """Numbers in a feature map."""
    return shape[0] * shape[1] * shape[2]


def count(model: ModelConfig) -> Count:
    """Counts a network without building it.

    Raises:
        TypeError: The model holds a part that this function does not know; it never counts as zero.
    """
    rows: list[LayerRow] = []
    shape: Shape = (1, IMAGE_SIZE, IMAGE_SIZE)
    field, jump = 1, 1
    for block, out in zip(model.blocks, feature_shapes(model), strict=True):
        match block:
            case ConvBlock():
                rows += _conv_rows(block, shape, field, jump)
                field = rows[-1].receptive_field
                jump *= block.stride
            case PoolBlock():
                field += (block.size - 1) * jump
                jump *= block.size
                rows.append(
                    LayerRow(
                        name=f"{block.mode} pool",
                        kernel=block.size,
                        padding=0,
                        in_shape=shape,
                        out_shape=out,
                        receptive_field=field,
                        n_params=0,
                        macs=0,
                    )
                )
            case _:
                raise TypeError(f"cannot count a block of type {type(block).__name__}")
        shape = out
    rows += _head_rows(model, shape, field, jump)
    return Count(
        layers=tuple(rows),
        n_params=sum(row.n_params for row in rows),
        macs=sum(row.macs for row in rows),
        peak_activations=max(volume(row.in_shape) + volume(row.out_shape) + row.extra for row in rows),
    )


def _conv_rows(block: ConvBlock, shape: Shape, field: int, jump: int) -> list[LayerRow]:
    rows: list[LayerRow] = []
    kept = volume(shape) if block.residual else 0
    for conv in convolutions(block, shape[0]):
        size = conv.out(shape[1])
        field += (conv.kernel - 1) * jump
        out = (conv.c_out, size, size)
        name = ("depthwise conv" if conv.depthwise else "conv") + (" stride 2" if conv.stride == 2 else "")
        name += "".join(f", {op.replace('_', ' ')}" for op in conv.ops)
        rows.append(
            LayerRow(
                name=name,
                kernel=conv.kernel,
                padding=conv.padding,
                in_shape=shape,
                out_shape=out,
                receptive_field=field,
                n_params=conv.n_params,
                macs=conv.n_weights * size**2,
                # The first convolution's input is the identity itself.
                extra=kept if rows else 0,
            )
        )
        shape = out
    if block.residual:
        rows[-1] = replace(rows[-1], name=f"{rows[-1].name}, + input")
    return rows


def _head_rows(model: ModelConfig, shape: Shape, field: int, jump: int) -> list[LayerRow]:
    channels, size = shape[0], shape[1]
    whole = field + (size - 1) * jump
    match model.head:
        case FullConvHead():
            weights = channels * model.num_classes * size * size
            return [_head_row("conv to logits", size, shape, (model.num_classes, 1, 1), whole, weights, weights)]
        case GapHead(classifier=classifier):
            pooled = (channels, 1, 1)
            gap = _head_row("global average pool", size, shape, pooled, whole, 0, 0)
            weights = channels * model.num_classes
            logits = (model.num_classes, 1, 1)
            match classifier:
                case "none":
                    return [gap]
                case "conv1x1":
                    return [gap, _head_row("conv to logits", 1, pooled, logits, whole, weights, weights)]
                case "linear":
                    bias = model.num_classes
                    return [gap, _head_row("linear to logits", 0, pooled, logits, whole, weights + bias, weights)]
    raise TypeError(f"cannot count a head of type {type(model.head).__name__}")


def _head_row(
    name: str, kernel: int, in_shape: Shape, out_shape: Shape, field: int, n_params: int, macs: int
) -> LayerRow:
    return LayerRow(
        name=name,
        kernel=kernel,
        padding=0,
        in_shape=in_shape,
        out_shape=out_shape,
        receptive_field=field,
        n_params=n_params,
        macs=macs,
    )
