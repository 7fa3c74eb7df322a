"""The convolutions that a block is made of: what counting, building, kernels and exported code agree on."""

from dataclasses import dataclass

from drill_models.step import ConvBlock, Operation


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """One convolution (no bias) with the operations that follow it.

    Attributes:
        c_in: Channels in.
        c_out: Channels out.
        kernel: Side of its window in pixels.
        padding: Pixels of zeros on each side.
        stride: Pixels from one window to the next.
        depthwise: Each channel has its own kernel (`c_out` equals `c_in`).
        ops: What follows it, in this order.
    """

    c_in: int
    c_out: int
    kernel: int = 1
    padding: int = 0
    stride: int = 1
    depthwise: bool = False
    ops: tuple[Operation, ...] = ()

    @property
    def n_weights(self) -> int:
        """Weights, without the parameters of what follows."""
        return self.c_out * (1 if self.depthwise else self.c_in) * self.kernel**2

    @property
    def n_params(self) -> int:
        """Trainable parameters, with those of the operations."""
        return self.n_weights + sum(operation_params(op, self.c_out) for op in self.ops)

    def out(self, size: int) -> int:
        """Side of the output of an input with this side."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1


def convolutions(block: ConvBlock, channels: int) -> tuple[Convolution, ...]:
    """Return a block's convolutions in order.

    Args:
        block: The block.
        channels: Channels that reach it.
    """
    if not block.separable:
        return (
            Convolution(
                c_in=channels,
                c_out=block.channels,
                kernel=block.kernel,
                padding=block.padding,
                stride=block.stride,
                ops=block.then,
            ),
        )
    middle = channels * block.expansion
    expand = Convolution(c_in=channels, c_out=middle, ops=block.between)
    depthwise = Convolution(
        c_in=middle,
        c_out=middle,
        kernel=block.kernel,
        padding=block.padding,
        stride=block.stride,
        depthwise=True,
        ops=block.between,
    )
    project = Convolution(c_in=middle, c_out=block.channels, ops=block.then)
    return (depthwise, project) if block.expansion == 1 else (expand, depthwise, project)


def operation_params(op: Operation, channels: int) -> int:
    """Return an operation's trainable parameters.

    Raises:
        TypeError: It is not known; it never counts as zero.
    """
    match op:
        case "batch_norm":
            return 2 * channels
        case "prelu":
            return 1
        case "relu" | "hard_swish" | "dropout":
            return 0
    raise TypeError(f"cannot count operation {op!r}")
