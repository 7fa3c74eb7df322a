"""What follows a convolution, over one block of images: batch norm, activation, dropout, residual sum, pooling.

Forward, the operations run in one pass over the convolution's output. Backward, the same pass is made
again and followed by its reverse, so that nothing but the convolutions' outputs is kept. Batch norm
needs sums over the whole batch, forward and backward, and so parts each pass in two.
"""

from drill_models.native.chain import BACK_1, BACK_G, BACK_X, MEAN, Chain, after_norm, before_norm, chain_of
from drill_models.native.emit import Function, Int, Module
from drill_models.native.plan import Layer


def forward(
    module: Module, layer: Layer, index: int, *, skip_pad: int, next_pad: int, last: bool, training: bool
) -> str:
    """Operations, residual sum and pooling of a block.

    `(ptr raw, ptr skip, ptr coefficients, ptr out, i32 key)`: `skip` is the residual's source, with a padding of
    `skip_pad`; `out` has a padding of `next_pad`, or where it is the last layer, one vector a channel: the mean.
    """
    name = f"forward_{index}_{'train' if training else 'eval'}"
    if module.has(name):
        return name
    f = module.function(name, ["ptr raw", "ptr skip", "ptr coefficients", "ptr out", "i32 key"])
    chain = chain_of(f, layer, training=training)
    pooled = layer.pooled
    row = pooled + 2 * next_pad
    with f.loop(0, layer.c_out) as c:
        chain.enter_channel(c)
        mean = f.var("zeroinitializer") if last else ""
        with f.loop(0, pooled) as y, f.loop(0, pooled) as x:
            values = _window(f, chain, layer, c, y, x, skip_pad)
            one = _pooled(f, layer, [v for v, *_ in values])
            if last:
                f.set(mean, f.op("fadd", f.get(mean), one))
            else:
                at = f.add(f.mul(f.add(y, next_pad), row), f.add(x, next_pad))
                f.store(one, "%out", f.add(f.mul(c, row**2), at))
        if last:
            f.store(f.op("fmul", f.get(mean), f.const(1 / pooled**2)), "%out", c)
    f.end()
    return name


def _pooled(f: Function, layer: Layer, values: list[str]) -> str:
    """The largest of a window's values, or their average."""
    one = values[0]
    for v in values[1:]:
        one = f.op("fadd", one, v) if layer.average else f.larger(one, v)
    return f.op("fmul", one, f.const(1 / len(values))) if layer.average else one


def _window(
    f: Function, chain: Chain, layer: Layer, c: Int, y: Int, x: Int, skip_pad: int
) -> list[tuple[str, list[str], Int]]:
    """The values that one pooled pixel is made from, each with what its operations began with and its place."""
    side, pool = layer.out, layer.pool
    corner = f.add(f.mul(c, side**2), f.add(f.mul(f.mul(y, pool), side), f.mul(x, pool)))
    found = []
    for dy in range(pool):
        for dx in range(pool):
            position = f.add(corner, dy * side + dx)
            v, before = chain.forward(f.load("%raw", position), layer.ops, position)
            if layer.skip is not None:
                row = side + 2 * skip_pad
                line = f.add(f.add(f.mul(y, pool), dy), skip_pad)
                column = f.add(f.add(f.mul(x, pool), dx), skip_pad)
                at = f.add(f.mul(c, row**2), f.add(f.mul(line, row), column))
                v = f.op("fadd", v, f.load("%skip", at))
            found.append((v, before, position))
    return found


def backward(module: Module, layer: Layer, index: int, *, skip_pad: int, last: bool, keeps_skip: bool) -> str:
    """From the slope of what a layer hands on to the slope of batch norm's output, with batch norm's sums.

    `(ptr raw, ptr skip, ptr coefficients, ptr dout, ptr slope, ptr dskip, ptr sums, i32 key)`: `dout` has no
    padding (where it is the last layer, one vector a channel); `slope` gets [channel][row][column]; `dskip`, where
    `keeps_skip`, the slope of the residual's source. Without batch norm `slope` is the convolution's own.
    """
    name = f"backward_{index}"
    args = ["raw", "skip", "coefficients", "dout", "slope", "dskip", "sums"]
    f = module.function(name, [*(f"ptr {a}" for a in args), "i32 key"])
    chain = chain_of(f, layer, training=True)
    has_norm = "batch_norm" in layer.ops
    pooled, pool = layer.pooled, layer.pool
    n_pre = len(before_norm(layer))
    sums_slope = "prelu" in (after_norm(layer) if has_norm else layer.ops)
    if sums_slope:
        chain.begin_sum()
    with f.loop(0, layer.c_out) as c:
        chain.enter_channel(c)
        total, products = (f.var("zeroinitializer"), f.var("zeroinitializer")) if has_norm else ("", "")
        mean = chain.coefficient(MEAN) if has_norm else ""
        of_channel = f.op("fmul", f.load("%dout", c), f.const(1 / pooled**2)) if last else ""
        with f.loop(0, pooled) as y, f.loop(0, pooled) as x:
            at = f.add(f.mul(c, pooled**2), f.add(f.mul(y, pooled), x))
            slope = of_channel or f.load("%dout", at)
            values = _window(f, chain, layer, c, y, x, skip_pad)
            shares = [slope] if pool == 1 else _shares(f, layer, [v for v, *_ in values], slope)
            for (_, before, position), share in zip(values, shares, strict=True):
                if keeps_skip:
                    f.store(share, "%dskip", position)
                if has_norm:
                    g = chain.backward(share, after_norm(layer), before[n_pre + 1 :], position)
                    f.set(total, f.op("fadd", f.get(total), g))
                    centred = f.op("fsub", before[n_pre], mean)
                    f.set(products, f.fma(g, centred, f.get(products)))
                else:
                    g = chain.backward(share, layer.ops, before, position)
                f.store(g, "%slope", position)
        if has_norm:
            for place, part in enumerate((total, products)):
                target = f.add(f.mul(c, 2), place)
                f.store(f.op("fadd", f.load("%sums", target), f.get(part)), "%sums", target)
    if sums_slope:
        chain.end_sum("%sums")
    f.end()
    return name


def _shares(f: Function, layer: Layer, values: list[str], slope: str) -> list[str]:
    """The slope for the first largest of some values, zero for the others; of an average, a part for each."""
    if layer.average:
        return [f.op("fmul", slope, f.const(1 / len(values)))] * len(values)
    best = values[0]
    for v in values[1:]:
        best = f.larger(best, v)
    left, shares = slope, []
    for v in values:
        here = f.compare("oeq", v, best)
        shares.append(f.choose(here, left, f.const(0)))
        left = f.choose(here, f.const(0), left)
    return shares


def input_slope(module: Module, layer: Layer, index: int) -> str:
    """From the slope of batch norm's output to that of the convolution's, laid into a padded buffer.

    `(ptr raw, ptr coefficients, ptr slope, ptr out, ptr lanes, ptr sums, i32 key)`: with stride 2, every other
    pixel of `out` stays zero.
    """
    name = f"input_slope_{index}"
    args = ["raw", "coefficients", "slope", "out", "lanes", "sums"]
    f = module.function(name, [*(f"ptr {a}" for a in args), "i32 key"])
    chain = chain_of(f, layer, training=True)
    has_norm = "batch_norm" in layer.ops
    present = f.load("%lanes") if has_norm else ""
    pad, side, stride, row = layer.back_pad, layer.out, layer.stride, layer.back_shape.row
    sums_slope = has_norm and "prelu" in before_norm(layer)
    if sums_slope:
        chain.begin_sum()
    with f.loop(0, layer.c_out) as c:
        chain.enter_channel(c)
        if has_norm:
            of_g, of_x, of_1 = (chain.coefficient(w) for w in (BACK_G, BACK_X, BACK_1))
            of_g, of_x, of_1 = (f.op("fmul", v, present) for v in (of_g, of_x, of_1))
            mean = chain.coefficient(MEAN)
        with f.loop(0, side) as y, f.loop(0, side) as x:
            position = f.add(f.mul(c, side**2), f.add(f.mul(y, side), x))
            g = f.load("%slope", position)
            if has_norm:
                v, before = chain.forward(f.load("%raw", position), before_norm(layer), position)
                g = f.fma(of_g, g, f.fma(of_x, f.op("fsub", v, mean), of_1))
                g = chain.backward(g, before_norm(layer), before, position)
            line, column = (f.add(f.mul(v, stride), pad) for v in (y, x))
            f.store(g, "%out", f.add(f.mul(c, row**2), f.add(f.mul(line, row), column)))
    if sums_slope:
        chain.end_sum("%sums")
    f.end()
    return name


def add_to(module: Module) -> str:
    """`(ptr from, ptr to, i64 n)`: adds n vectors."""
    name = "add_to"
    if module.has(name):
        return name
    f = module.function(name, ["ptr from", "ptr to", "i64 n"])
    with f.loop(0, "%n") as i:
        f.store(f.op("fadd", f.load("%to", i), f.load("%from", i)), "%to", i)
    f.end()
    return name
