"""The operations after a convolution, on one vector: forward, and in reverse."""

from collections.abc import Sequence
from dataclasses import dataclass

from drill_models.native.emit import Function, Int
from drill_models.native.plan import Layer
from drill_models.step import Operation

COEFFICIENTS = 9
"""Floats that batch norm and PReLU keep of a channel."""

SCALE, SHIFT, MEAN, INVERSE, BACK_G, BACK_X, BACK_1, PIVOT, NEGATIVE = range(COEFFICIENTS)
"""Places of the coefficients of a channel: forward y = SCALE * x + SHIFT, with the batch's MEAN and INVERSE
deviation; backward dx = BACK_G * dy + BACK_X * (x - MEAN) + BACK_1. PIVOT is subtracted before summing squares.
NEGATIVE is PReLU's slope below zero."""


def before_norm(layer: Layer) -> tuple[Operation, ...]:
    """Operations before batch norm; all of them where there is none."""
    return layer.ops[: layer.ops.index("batch_norm")] if "batch_norm" in layer.ops else layer.ops


def after_norm(layer: Layer) -> tuple[Operation, ...]:
    """Operations after batch norm."""
    return layer.ops[layer.ops.index("batch_norm") + 1 :] if "batch_norm" in layer.ops else ()


class Dropout:
    """A layer's dropout masks, drawn from a counter so that the backward pass draws the same again.

    The hash is Chris Wellons' lowbias32 (https://nullprogram.com/blog/2018/07/31/), over element number
    and key; an element stays where its 32 bits are at least the rate.
    """

    def __init__(self, f: Function, layer: Layer, key: str) -> None:
        self._f = f
        self._layer = layer
        lanes = ", ".join(f"i32 {i}" for i in range(f.lanes))
        self._start = self._ints("add", f"<{lanes}>", self._splat(key))
        self._channel = ""

    def _ints(self, op: str, a: str, b: str) -> str:
        return self._f.pure(f"{op} {self._f.ivec} {a}, {b}")

    def _constant(self, x: int) -> str:
        return "<" + ", ".join([f"i32 {x}"] * self._f.lanes) + ">"

    def _splat(self, x: str) -> str:
        one = self._f.pure(f"insertelement {self._f.ivec} poison, i32 {x}, i64 0")
        return self._f.pure(
            f"shufflevector {self._f.ivec} {one}, {self._f.ivec} poison, {self._f.ivec} zeroinitializer"
        )

    def _mask(self, position: Int) -> str:
        element = self._f.mul(position, self._f.lanes)
        narrow = f"{element}" if isinstance(element, int) else self._f.pure(f"trunc i64 {element} to i32")
        h = self._ints("add", self._start, self._splat(narrow))
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            h = self._ints("xor", h, self._ints("lshr", h, self._constant(shift)))
            h = self._ints("mul", h, self._constant(factor))
        h = self._ints("xor", h, self._ints("lshr", h, self._constant(16)))
        threshold = min(round(self._layer.rate * 2**32), 2**32 - 1)
        return self._f.pure(f"icmp uge {self._f.ivec} {h}, {self._constant(threshold)}")

    def enter_channel(self, c: Int) -> None:
        """Once a channel, before any element of it."""
        if self._layer.per_channel:
            self._channel = self._mask(c)

    def apply(self, v: str, position: Int) -> str:
        """A value or a slope with its mask."""
        mask = self._channel if self._layer.per_channel else self._mask(position)
        kept = self._f.op("fmul", v, self._f.const(1 / (1 - self._layer.rate)))
        return self._f.choose(mask, kept, self._f.const(0))


@dataclass
class Chain:
    """A layer's operations on one vector, and their reverse."""

    f: Function
    layer: Layer
    coefficients: str
    dropout: Dropout | None

    def enter_channel(self, c: Int) -> None:
        """Loads what holds for a whole channel."""
        self.base = self.f.at(self.coefficients, self.f.mul(c, COEFFICIENTS))
        if "batch_norm" in self.layer.ops:
            self.scale = self.f.load_splat(self.base, SCALE)
            self.shift = self.f.load_splat(self.base, SHIFT)
        if "prelu" in self.layer.ops:
            self.negative = self.f.load_splat(self.base, NEGATIVE)
        if self.dropout is not None:
            self.dropout.enter_channel(c)

    def coefficient(self, which: int) -> str:
        """One of the channel's numbers, in all lanes."""
        return self.f.load_splat(self.base, which)

    def forward(self, v: str, ops: Sequence[Operation], position: Int) -> tuple[str, list[str]]:
        """The value after the operations, and the value before each of them."""
        before = []
        for op in ops:
            before.append(v)
            match op:
                case "relu":
                    negative = self.f.compare("olt", v, self.f.const(0))  # a NaN stays one
                    v = self.f.choose(negative, self.f.const(0), v)
                case "prelu":
                    v = self.f.choose(self._positive(v), v, self.f.op("fmul", v, self.negative))
                case "hard_swish":
                    v = self._three_parts(v, self.f.op("fmul", v, self._gate(v, 1 / 6)), v)
                case "batch_norm":
                    v = self.f.fma(v, self.scale, self.shift)
                case "dropout":
                    v = v if self.dropout is None else self.dropout.apply(v, position)
                case _:
                    raise TypeError(f"unknown operation {op!r}")
        return v, before

    def backward(self, g: str, ops: Sequence[Operation], before: list[str], position: Int) -> str:
        """The slope before the operations, none of which is batch norm."""
        for op, v in zip(reversed(ops), reversed(before), strict=True):
            if op == "relu":
                g = self.f.choose(self._positive(v), g, self.f.const(0))
            elif op == "prelu":
                positive = self._positive(v)
                share = self.f.choose(positive, self.f.const(0), self.f.op("fmul", v, g))
                self.f.set(self.prelu_sum, self.f.op("fadd", self.f.get(self.prelu_sum), share))
                g = self.f.choose(positive, g, self.f.op("fmul", g, self.negative))
            elif op == "hard_swish":
                g = self._three_parts(v, self.f.op("fmul", g, self._gate(v, 1 / 3)), g)
            elif op == "dropout" and self.dropout is not None:
                g = self.dropout.apply(g, position)
        return g

    def begin_sum(self) -> None:
        """Begins the sum of the gradient of PReLU's slope, before the first call of `backward`."""
        self.prelu_sum = self.f.var("zeroinitializer")

    def end_sum(self, sums: str) -> None:
        """Adds that sum to its place behind batch norm's sums."""
        place = 2 * self.layer.c_out
        self.f.store(self.f.op("fadd", self.f.load(sums, place), self.f.get(self.prelu_sum)), sums, place)

    def _positive(self, v: str) -> str:
        return self.f.compare("ogt", v, self.f.const(0))

    def _gate(self, v: str, factor: float) -> str:
        """v * factor + 1/2."""
        return self.f.fma(v, self.f.const(factor), self.f.const(0.5))

    def _three_parts(self, v: str, inside: str, above: str) -> str:
        """Hard swish's parts: 0 below -3, `inside` up to 3 and of a NaN, `above` beyond."""
        low, high = (self.f.compare(*how) for how in (("olt", v, self.f.const(-3)), ("ogt", v, self.f.const(3))))
        return self.f.choose(low, self.f.const(0), self.f.choose(high, above, inside))


def chain_of(f: Function, layer: Layer, *, training: bool) -> Chain:
    """A layer's operations in a function that has the arguments `coefficients` and `key`."""
    drops = training and "dropout" in layer.ops and layer.rate > 0
    return Chain(f, layer, "%coefficients", Dropout(f, layer, "%key") if drops else None)
