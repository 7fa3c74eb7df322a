"""Parameters, multiply-accumulates and receptive fields, from the configuration alone.

Integers only, no torch. Rules: a convolution has in * out * k * k weights and no bias; batch norm has
two parameters a channel; multiply-accumulates are those of convolutions and linear layers, for one
image; the receptive field follows Dumoulin and Visin, "A guide to convolution arithmetic" (2016).
"""

from dataclasses import dataclass

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
                field += (block.kernel - 1) * jump
                rows += _conv_rows(block, shape, out, field)
            case PoolBlock():
                field += (block.size - 1) * jump
                jump *= block.size
                rows.append(
                    LayerRow(
                        name="max pool",
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


def _conv_rows(block: ConvBlock, shape: Shape, out: Shape, field: int) -> list[LayerRow]:
    after = "".join(f", {op.replace('_', ' ')}" for op in block.then)
    after += ", + input" if block.residual else ""
    norm = 2 * block.channels if "batch_norm" in block.then else 0
    kept = volume(shape) if block.residual else 0
    area, window = out[1] * out[2], block.kernel**2
    if not block.separable:
        weights = shape[0] * block.channels * window
        return [
            LayerRow(
                name=f"conv{after}",
                kernel=block.kernel,
                padding=block.padding,
                in_shape=shape,
                out_shape=out,
                receptive_field=field,
                n_params=weights + norm,
                macs=weights * area,
                # The convolution's input is the identity itself.
                extra=0,
            )
        ]
    middle = (shape[0], out[1], out[2])
    return [
        LayerRow(
            name="depthwise conv",
            kernel=block.kernel,
            padding=block.padding,
            in_shape=shape,
            out_shape=middle,
            receptive_field=field,
            n_params=shape[0] * window,
            macs=shape[0] * window * area,
        ),
        LayerRow(
            name=f"conv{after}",
            kernel=1,
            padding=0,
            in_shape=middle,
            out_shape=out,
            receptive_field=field,
            n_params=shape[0] * block.channels + norm,
            macs=shape[0] * block.channels * area,
            extra=kept,
        ),
    ]


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
