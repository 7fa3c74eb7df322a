"""One stretch of memory for all that training a network needs, and where everything lies in it."""

from dataclasses import dataclass, replace

from drill_models.native import winograd
from drill_models.native.chain import COEFFICIENTS
from drill_models.native.plan import Layer, Plan


@dataclass(frozen=True)
class Buffer:
    """A part of the arena, in vectors; block b begins at start + b * stride. Stride 0: all blocks share it."""

    start: int
    stride: int


@dataclass(frozen=True)
class Arena:
    """Where everything lies.

    Attributes:
        size: Vectors in all.
        inputs: A layer's input, with its padding; kept for the images and for residual sums, else made again.
        raw: What its convolution gives.
        slope: Slope of batch norm's output, or of the convolution's.
        padded_slope: Slope of the convolution's output, with zeros around, of one block.
        skip_slope: Slope that a residual sum adds to a layer's input.
        input_slope: Slope of a layer's input, of one block.
        coefficients: Of batch norm.
        sums: Sums over the batch: forward and backward of each layer, and of the weights' gradients.
        prepared: Weights of the pass forward, as their kernel wants them.
        flipped: Weights of the pass back, turned and transposed.
        back_prepared: These as their kernel wants them.
        lanes: A vector a block, 1 where a lane holds an image.
        features: What the classifier gets.
        feature_slope: Its slope.
    """

    size: int
    inputs: tuple[Buffer, ...]
    raw: tuple[Buffer, ...]
    slope: tuple[Buffer, ...]
    padded_slope: tuple[Buffer, ...]
    skip_slope: tuple[Buffer, ...]
    input_slope: Buffer
    coefficients: tuple[Buffer, ...]
    forward_sums: tuple[Buffer, ...]
    backward_sums: tuple[Buffer, ...]
    weight_sums: tuple[Buffer, ...]
    prepared: tuple[Buffer, ...]
    flipped: tuple[Buffer, ...]
    back_prepared: tuple[Buffer, ...]
    lanes: Buffer
    features: Buffer
    feature_slope: Buffer

    @property
    def sums(self) -> slice:
        """All sums, in vectors: set to zero before each batch."""
        return slice(self.forward_sums[0].start, self.coefficients[0].start)


def lay_out(plan: Plan, blocks: int, *, lanes: int, registers: int) -> Arena:
    """Gives every buffer its place, for batches of up to so many blocks."""
    at = 0

    def take(size: int) -> Buffer:
        nonlocal at
        buffer = Buffer(at, 0)
        at += size
        return buffer

    def each(size: int, *, kept: bool = True) -> Buffer:
        """For each block, or where it need not be kept, one for all."""
        return replace(take(size * blocks), stride=size) if kept else take(size)

    def small(floats: int) -> Buffer:
        return take(-(-floats // lanes))

    def factors(layer: Layer) -> int:
        return layer.n_weights // 3 * winograd.POINTS

    def sums(layer: Layer) -> int:
        return factors(layer) if winograd.suits(layer.shape, registers) else layer.n_weights

    layers = plan.layers
    kept = {0} | {layer.skip for layer in layers if layer.skip is not None}
    return Arena(
        forward_sums=tuple(take(2 * la.c_out) for la in layers),
        backward_sums=tuple(take(2 * la.c_out + ("prelu" in la.ops)) for la in layers),
        weight_sums=tuple(take(sums(la)) for la in layers),
        coefficients=tuple(small(la.c_out * COEFFICIENTS) for la in layers),
        prepared=tuple(small(factors(la)) for la in layers),
        flipped=tuple(small(la.n_weights) for la in layers),
        back_prepared=tuple(small(factors(la)) for la in layers),
        lanes=each(1),
        features=each(plan.features),
        feature_slope=each(plan.features),
        padded_slope=tuple(take(la.c_out * la.back_shape.row**2) for la in layers),
        input_slope=take(max(la.c_in * la.size**2 for la in layers)),
        inputs=tuple(each(la.c_in * la.padded**2, kept=i in kept) for i, la in enumerate(layers)),
        raw=tuple(each(la.c_out * la.out**2) for la in layers),
        slope=tuple(each(la.c_out * la.out**2) for la in layers),
        skip_slope=tuple(each(la.c_in * la.size**2 if i in kept - {0} else 0) for i, la in enumerate(layers)),
        size=at,  # evaluated last
    )
