"""A network as a list of layers, with the places of its parameters: what the kernels are made from."""

from dataclasses import dataclass, replace

from drill_models.convolutions import convolutions, operation_params
from drill_models.datasets import IMAGE_SIZE
from drill_models.native.convolutions import Shape
from drill_models.step import ConvBlock, FullConvHead, GapHead, ModelConfig, Operation, PoolBlock


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution with what follows it: operations, the sum of a residual block, pooling.

    Sizes are in pixels; images are square.

    Attributes:
        depthwise: Each channel has its own kernel (`c_out` equals `c_in`).
        c_in: Channels in.
        c_out: Channels out.
        kernel: Side of the kernel.
        pad: Zeros on each side of the input.
        size: Side of the input, without padding.
        stride: Pixels from one window to the next.
        ops: What follows the convolution.
        rate: Of dropout.
        per_channel: Dropout of whole channels.
        skip: Which layer's input is added after the operations, or None.
        pool: Side of the pooling that comes last, or 1.
        average: It takes the average, not the maximum.
        weights: Where its weights begin in the flat parameters.
        norm: Where batch norm's scales begin in the flat parameters; its shifts follow.
        running: Where its running means begin in the flat statistics; its variances follow.
        prelu: Where PReLU's slope stands in the flat parameters.
    """

    depthwise: bool
    c_in: int
    c_out: int
    kernel: int
    pad: int
    size: int
    stride: int = 1
    ops: tuple[Operation, ...] = ()
    rate: float = 0.0
    per_channel: bool = False
    skip: int | None = None
    pool: int = 1
    average: bool = False
    weights: int = 0
    norm: int = 0
    running: int = 0
    prelu: int = 0

    @property
    def padded(self) -> int:
        """Side of the input with its padding."""
        return self.size + 2 * self.pad

    @property
    def out(self) -> int:
        """Side of the convolution's output."""
        return (self.padded - self.kernel) // self.stride + 1

    @property
    def pooled(self) -> int:
        """Side of what the next layer gets."""
        return self.out // self.pool

    @property
    def back_pad(self) -> int:
        """Zeros around the output's gradient, so that a convolution with it gives the input's gradient."""
        return self.kernel - 1 - self.pad

    @property
    def shape(self) -> Shape:
        """Of its convolution."""
        return Shape(
            c_in=self.c_in,
            c_out=self.c_out,
            kernel=self.kernel,
            row=self.padded,
            depthwise=self.depthwise,
            stride=self.stride,
        )

    @property
    def back_shape(self) -> Shape:
        """Of the convolution that leads its output's slope back to its input's: stride 1.

        With stride 2, zeros stand between the output's slopes.
        """
        row = self.size + self.kernel - 1
        return Shape(c_in=self.c_out, c_out=self.c_in, kernel=self.kernel, row=row, depthwise=self.depthwise)

    @property
    def n_weights(self) -> int:
        """Weights of the convolution."""
        return self.c_out * (1 if self.depthwise else self.c_in) * self.kernel**2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole network.

    Attributes:
        layers: In order; what comes out of the last is averaged over its pixels.
        classifier: What turns the averages into logits.
        features: Averages an image.
        num_classes: Logits, unless there is no classifier.
        n_params: Of all, as they lie one after the other in the network's own order.
        n_running: Running means and variances.
        head: Where the classifier's parameters begin.
    """

    layers: tuple[Layer, ...]
    classifier: str
    features: int
    num_classes: int
    n_params: int
    n_running: int
    head: int


class Unsupported(Exception):
    """The kernels here do not cover this network or this processor; says what they do not cover."""


MAX_POOL = 8
"""Windows are written out pixel by pixel."""

MAX_CHANNELS = 256
"""Wider layers are not what these kernels are made for."""


def make_plan(model: ModelConfig) -> Plan:
    """Lays a network out.

    Raises:
        Unsupported: It has a form that the kernels do not cover.
    """
    layers: list[Layer] = []
    size, channels, at, running = IMAGE_SIZE, 1, 0, 0
    for block in model.blocks:
        match block:
            case ConvBlock():
                first = len(layers)
                for conv in convolutions(block, channels):
                    layer = Layer(
                        depthwise=conv.depthwise,
                        c_in=conv.c_in,
                        c_out=conv.c_out,
                        kernel=conv.kernel,
                        pad=conv.padding,
                        stride=conv.stride,
                        size=size,
                        ops=conv.ops,
                        rate=model.dropout.rate if model.dropout else 0.0,
                        per_channel=model.dropout is not None and model.dropout.per == "channel",
                        weights=at,
                        running=running,
                    )
                    at += layer.n_weights
                    for op in conv.ops:  # in the order of PyTorch's modules
                        if op == "batch_norm":
                            layer = replace(layer, norm=at)
                            running += 2 * conv.c_out
                        elif op == "prelu":
                            layer = replace(layer, prelu=at)
                        at += operation_params(op, conv.c_out)
                    layers.append(layer)
                    size = layer.out
                if block.residual:
                    layers[-1] = replace(layers[-1], skip=first)
                channels = block.channels
            case PoolBlock():
                # Pooling of pooling is pooling over the product of the sizes.
                if not layers or layers[-1].pool * block.size > MAX_POOL:
                    raise Unsupported("pooling without a convolution before it, or of large windows")
                average = block.mode == "average"
                if layers[-1].pool > 1 and layers[-1].average != average:
                    raise Unsupported("average pooling of max pooling, or the other way round")
                layers[-1] = replace(layers[-1], pool=layers[-1].pool * block.size, average=average)
                size = layers[-1].pooled
            case _:
                raise TypeError(f"unknown block {type(block).__name__}")
    match model.head:
        case FullConvHead():
            head = Layer(
                depthwise=False, c_in=channels, c_out=model.num_classes, kernel=size, pad=0, size=size, weights=at
            )
            layers.append(head)
            at += head.n_weights
            classifier, features, head_at = "none", model.num_classes, at
        case GapHead():
            classifier, features, head_at = model.head.classifier, channels, at
            if classifier != "none":
                at += model.num_classes * channels
            if classifier == "linear":
                at += model.num_classes
        case _:
            raise TypeError(f"unknown head {type(model.head).__name__}")
    if max(max(layer.c_in, layer.c_out) for layer in layers) > MAX_CHANNELS:
        raise Unsupported(f"more than {MAX_CHANNELS} channels")
    return Plan(
        layers=tuple(layers),
        classifier=classifier,
        features=features,
        num_classes=model.num_classes,
        n_params=at,
        n_running=running,
        head=head_at,
    )
