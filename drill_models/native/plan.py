"""A network as a list of layers, with the places of its parameters: what the kernels are made from."""

from dataclasses import dataclass, replace

from drill_models.datasets import IMAGE_SIZE
from drill_models.native.convolutions import Shape
from drill_models.step import ConvBlock, FullConvHead, GapHead, ModelConfig, Operation, PoolBlock


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution with what follows it: operations, the sum of a residual block, max pooling.

    Sizes are in pixels; images are square.

    Attributes:
        depthwise: Each channel has its own kernel (`c_out` equals `c_in`).
        c_in: Channels in.
        c_out: Channels out.
        kernel: Side of the kernel.
        pad: Zeros on each side of the input.
        size: Side of the input, without padding.
        ops: What follows the convolution.
        rate: Of dropout.
        per_channel: Dropout of whole channels.
        skip: Which layer's input is added after the operations, or None.
        pool: Side of the max pooling that comes last, or 1.
        weights: Where its weights begin in the flat parameters.
        norm: Where batch norm's scales begin in the flat parameters; its shifts follow.
        running: Where its running means begin in the flat statistics; its variances follow.
    """

    depthwise: bool
    c_in: int
    c_out: int
    kernel: int
    pad: int
    size: int
    ops: tuple[Operation, ...] = ()
    rate: float = 0.0
    per_channel: bool = False
    skip: int | None = None
    pool: int = 1
    weights: int = 0
    norm: int = 0
    running: int = 0

    @property
    def padded(self) -> int:
        """Side of the input with its padding."""
        return self.size + 2 * self.pad

    @property
    def out(self) -> int:
        """Side of the convolution's output."""
        return self.padded - self.kernel + 1

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
            c_in=self.c_in, c_out=self.c_out, kernel=self.kernel, row=self.padded, depthwise=self.depthwise
        )

    @property
    def back_shape(self) -> Shape:
        """Of the convolution that leads its output's slope back to its input's."""
        row = self.out + 2 * self.back_pad
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
                if block.separable:
                    depthwise = Layer(
                        depthwise=True,
                        c_in=channels,
                        c_out=channels,
                        kernel=block.kernel,
                        pad=block.padding,
                        size=size,
                        weights=at,
                    )
                    at += depthwise.n_weights
                    layers.append(depthwise)
                    size = depthwise.out
                layer = Layer(
                    depthwise=False,
                    c_in=channels,
                    c_out=block.channels,
                    kernel=1 if block.separable else block.kernel,
                    pad=0 if block.separable else block.padding,
                    size=size,
                    ops=block.then,
                    rate=model.dropout.rate if model.dropout else 0.0,
                    per_channel=model.dropout is not None and model.dropout.per == "channel",
                    skip=first if block.residual else None,
                    weights=at,
                    running=running,
                )
                at += layer.n_weights
                if "batch_norm" in block.then:
                    layer = replace(layer, norm=at)
                    at += 2 * block.channels
                    running += 2 * block.channels
                layers.append(layer)
                size, channels = layer.out, block.channels
            case PoolBlock():
                # Pooling of pooling is pooling over the product of the sizes.
                if not layers or layers[-1].pool * block.size > MAX_POOL:
                    raise Unsupported("pooling without a convolution before it, or of large windows")
                layers[-1] = replace(layers[-1], pool=layers[-1].pool * block.size)
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
