"""Batch norm's numbers: sums over a batch, and what the passes forward and back make of them."""

from drill_models.native.chain import (
    BACK_1,
    BACK_G,
    BACK_X,
    COEFFICIENTS,
    INVERSE,
    MEAN,
    PIVOT,
    SCALE,
    SHIFT,
    before_norm,
    chain_of,
)
from drill_models.native.emit import Function, Module, number
from drill_models.native.plan import Layer

EPSILON = 1e-5
MOMENTUM = 0.1
"""PyTorch's defaults of batch norm."""


def statistics(module: Module, layer: Layer, index: int) -> str:
    """Adds a block to a channel's sum and sum of squares, both less PIVOT.

    `(ptr raw, ptr coefficients, ptr sums, ptr lanes, i32 key)`: sums are [channel][2] vectors; `lanes` is a vector
    that is 0 where a lane holds no image.
    """
    name = f"statistics_{index}"
    f = module.function(name, ["ptr raw", "ptr coefficients", "ptr sums", "ptr lanes", "i32 key"])
    chain = chain_of(f, layer, training=True)
    present = f.load("%lanes")
    pixels = layer.out**2
    with f.loop(0, layer.c_out) as c:
        chain.enter_channel(c)
        pivot = chain.coefficient(PIVOT)
        # Several sums side by side, because an addition takes four cycles.
        parallel = next(n for n in (4, 3, 2, 1) if pixels % n == 0)
        sums = [f.var("zeroinitializer") for _ in range(parallel)]
        squares = [f.var("zeroinitializer") for _ in range(parallel)]
        start = f.mul(c, pixels)
        with f.loop(0, pixels, parallel) as at:
            for i in range(parallel):
                position = f.add(f.add(start, at), i)
                v, _ = chain.forward(f.load("%raw", position), before_norm(layer), position)
                v = f.op("fsub", v, pivot)
                f.set(sums[i], f.op("fadd", f.get(sums[i]), v))
                f.set(squares[i], f.fma(v, v, f.get(squares[i])))
        for place, parts in enumerate((sums, squares)):
            total = f.get(parts[0])
            for part in parts[1:]:
                total = f.op("fadd", total, f.get(part))
            target = f.add(f.mul(c, 2), place)
            f.store(f.fma(total, present, f.load("%sums", target)), "%sums", target)
    f.end()
    return name


def finish_statistics(module: Module) -> str:
    """From sums over the batch to batch norm's coefficients; moves the running statistics.

    `(ptr sums, ptr coefficients, ptr parameters, ptr running, float n, i64 channels)`: `parameters` are scales,
    then shifts; `running` are means, then variances; `n` is the number of values a channel.
    """
    name = "finish_statistics"
    if module.has(name):
        return name
    f = module.function(
        name, ["ptr sums", "ptr coefficients", "ptr parameters", "ptr running", "float n", "i64 channels"]
    )
    s = "float"
    less = f.op("fsub", "%n", "1.0", s)
    with f.loop(0, "%channels") as c:
        two = f.mul(c, 2)
        first, second = (f.sum_lanes(f.load("%sums", f.add(two, i))) for i in (0, 1))
        base = f.at("%coefficients", f.mul(c, COEFFICIENTS))
        offset = f.op("fdiv", first, "%n", s)
        mean = f.op("fadd", f.load_scalar(base, PIVOT), offset, s)
        squares = f.op("fsub", second, f.op("fmul", first, offset, s), s)  # about the mean
        squares = f.not_negative(squares)
        variance = f.op("fdiv", squares, "%n", s)
        inverse = _inverse(f, variance)
        scale = f.op("fmul", f.load_scalar("%parameters", c), inverse, s)
        shift = f.load_scalar("%parameters", f.add("%channels", c))
        f.store_scalar(scale, base, SCALE)
        f.store_scalar(f.op("fsub", shift, f.op("fmul", mean, scale, s), s), base, SHIFT)
        f.store_scalar(mean, base, MEAN)
        f.store_scalar(inverse, base, INVERSE)
        for place, new in ((c, mean), (f.add("%channels", c), f.op("fdiv", squares, less, s))):
            old = f.load_scalar("%running", place)
            step = f.op("fmul", f.op("fsub", new, old, s), number(MOMENTUM), s)
            moved = f.op("fadd", old, step, s)
            f.store_scalar(moved, "%running", place)
            if place == c:
                f.store_scalar(moved, base, PIVOT)
    f.end()
    return name


def finish_slopes(module: Module) -> str:
    """From sums over the batch to the slopes of batch norm's parameters and the backward coefficients.

    `(ptr sums, ptr coefficients, ptr slopes, float n, i64 channels)`: `slopes` are of scales, then of shifts.
    """
    name = "finish_slopes"
    if module.has(name):
        return name
    f = module.function(name, ["ptr sums", "ptr coefficients", "ptr slopes", "float n", "i64 channels"])
    s = "float"
    with f.loop(0, "%channels") as c:
        two = f.mul(c, 2)
        total, products = (f.sum_lanes(f.load("%sums", f.add(two, i))) for i in (0, 1))
        base = f.at("%coefficients", f.mul(c, COEFFICIENTS))
        scale, inverse = (f.load_scalar(base, w) for w in (SCALE, INVERSE))
        f.store_scalar(f.op("fmul", products, inverse, s), "%slopes", c)
        f.store_scalar(total, "%slopes", f.add("%channels", c))
        # dx = scale * (dy - mean(dy) - (x - mean) * inverse^2 * mean(dy * (x - mean)))
        of_x = f.op("fdiv", f.op("fmul", f.op("fmul", inverse, inverse, s), products, s), "%n", s)
        of_x = f.op("fmul", of_x, f.op("fsub", "0.0", scale, s), s)
        of_1 = f.op("fsub", "0.0", f.op("fmul", scale, f.op("fdiv", total, "%n", s), s), s)
        f.store_scalar(scale, base, BACK_G)
        f.store_scalar(of_x, base, BACK_X)
        f.store_scalar(of_1, base, BACK_1)
    f.end()
    return name


def running_coefficients(module: Module) -> str:
    """Batch norm's coefficients in evaluation.

    `(ptr coefficients, ptr parameters, ptr running, i64 channels)`.
    """
    name = "running_coefficients"
    if module.has(name):
        return name
    f = module.function(name, ["ptr coefficients", "ptr parameters", "ptr running", "i64 channels"])
    s = "float"
    with f.loop(0, "%channels") as c:
        base = f.at("%coefficients", f.mul(c, COEFFICIENTS))
        inverse = _inverse(f, f.load_scalar("%running", f.add("%channels", c)))
        scale = f.op("fmul", f.load_scalar("%parameters", c), inverse, s)
        shift = f.load_scalar("%parameters", f.add("%channels", c))
        mean = f.load_scalar("%running", c)
        f.store_scalar(scale, base, SCALE)
        f.store_scalar(f.op("fsub", shift, f.op("fmul", mean, scale, s), s), base, SHIFT)
    f.end()
    return name


def _inverse(f: Function, variance: str) -> str:
    return f.op("fdiv", "1.0", f.sqrt(f.op("fadd", variance, number(EPSILON), "float")), "float")
