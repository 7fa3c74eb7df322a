"""3 x 3 convolutions with two thirds of the multiplications: Winograd's F(2, 3) along the rows.

Two neighbouring outputs of a row take four multiplications instead of six; the additions that they cost
instead run on units of their own. The weights' gradient is F(3, 2) over the same points. Source:
Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, https://arxiv.org/abs/1509.09308.
"""

from drill_models.native.convolutions import Shape, over_tiles, split
from drill_models.native.emit import Function, Module

POINTS = 4
"""Products that stand for two outputs, or for the three weights of a kernel's row."""


def suits(shape: Shape, registers: int) -> bool:
    """Whether it is worth it: with 16 registers the sums of a tile would be too few."""
    plain = shape.kernel == 3 and shape.stride == 1 and not shape.depthwise
    return plain and shape.out >= 2 and registers >= 24


def prepare(module: Module) -> str:
    """`(ptr weights, ptr out, i64 rows)`: a kernel's rows of three weights as four factors each."""
    name = "winograd_prepare"
    if module.has(name):
        return name
    f = module.function(name, ["ptr weights", "ptr out", "i64 rows"])
    with f.loop(0, "%rows") as row:
        source, target = f.at("%weights", f.mul(row, 3)), f.at("%out", f.mul(row, POINTS))
        left, middle, right = (f.load_scalar(source, i) for i in range(3))
        outer = f.op("fmul", f.op("fadd", left, right, "float"), "0.5", "float")
        half = f.op("fmul", middle, "0.5", "float")
        factors = (left, f.op("fadd", outer, half, "float"), f.op("fsub", outer, half, "float"), right)
        for i, factor in enumerate(factors):
            f.store_scalar(factor, target, i)
    f.end()
    return name


def _differences(f: Function, inputs: list[str]) -> list[str]:
    """Four neighbouring inputs (or three, where the second output is beyond the row) as four (three) factors."""
    first, second, third = inputs[:3]
    found = [f.op("fsub", first, third), f.op("fadd", second, third), f.op("fsub", third, second)]
    return found if len(inputs) == 3 else [*found, f.op("fsub", second, inputs[3])]


def convolution(module: Module, shape: Shape, registers: int) -> str:
    """`(ptr in, ptr prepared, ptr out)`: as the plain kernel, with prepared weights; returns its name."""
    name = f"winograd_{shape.name}"
    if module.has(name):
        return name
    channels, pairs = _tile(shape, registers)
    cuts = [(2 * first, parts, 2 * size) for first, parts, size in split(shape.out // 2, pairs)]
    if shape.out % 2:
        cuts.append((shape.out - 1, 1, 1))
    return over_tiles(module, name, shape, cuts, channels, shape.c_in * 3 * POINTS, _micro)


def _tile(shape: Shape, registers: int) -> tuple[int, int]:
    """Channels and pairs of columns of a tile, by the fewest cycles."""
    best = (float("inf"), 1, 1)
    for pairs in range(1, shape.out // 2 + 1):
        for channels in range(1, shape.c_out + 1):
            # The sums, a row of inputs, a factor and a weight.
            if pairs * channels * POINTS + 2 * pairs + 2 + 2 > registers:
                break
            cycles = 0
            for _, x_tiles, width in split(shape.out // 2, pairs):
                for _, c_tiles, height in split(shape.c_out, channels):
                    products = width * height * POINTS
                    cycles += x_tiles * c_tiles * (max(products, 4) + (height * POINTS + 2 * width + 2) // 2)
            best = min(best, (cycles, channels, pairs))
    return best[1], best[2]


def _micro(module: Module, shape: Shape, height: int, width: int) -> str:
    """One tile of the output: `height` channels by `width` columns."""
    name = f"winograd_{shape.name}_{height}x{width}"
    if module.has(name):
        return name
    f = module.function(name, ["ptr in", "ptr w", "ptr out"])
    pairs, points = -(-width // 2), POINTS if width > 1 else POINTS - 1
    sums = [[[f.var("zeroinitializer") for _ in range(points)] for _ in range(pairs)] for _ in range(height)]
    with f.loop(0, shape.c_in) as ci:
        plane = f.at_vec("%in", f.mul(ci, shape.row**2))
        weights = f.at("%w", f.mul(ci, 3 * POINTS))
        for ky in range(3):
            inputs = [f.load(plane, ky * shape.row + x) for x in range(width + 2)]
            factors = [_differences(f, inputs[2 * pair : 2 * pair + 4]) for pair in range(pairs)]
            for point in range(points):
                for co in range(height):
                    w = f.load_splat(weights, (co * shape.c_in * 3 + ky) * POINTS + point)
                    for pair in range(pairs):
                        total = sums[co][pair][point]
                        f.set(total, f.fma(w, factors[pair][point], f.get(total)))
    for co in range(height):
        for pair in range(pairs):
            first, second, third, *last = (f.get(total) for total in sums[co][pair])
            f.store(f.op("fadd", f.op("fadd", first, second), third), "%out", co * shape.out**2 + 2 * pair)
            if last:
                right = f.op("fsub", f.op("fsub", second, third), last[0])
                f.store(right, "%out", co * shape.out**2 + 2 * pair + 1)
    f.end()
    return name


def weight_gradient(module: Module, shape: Shape, out_row: int, registers: int) -> str:
    """`(ptr in, ptr dout, ptr sums)`: adds to sums[co][ci][ky][point], a vector each, for `finish`.

    Args:
        module: Where the kernel goes.
        shape: The convolution.
        out_row: Columns of a row of dout where it lies in a padded buffer; `dout` points at its first pixel.
        registers: Sums in registers at once.
    """
    name = f"winograd_grad_{shape.name}_o{out_row}"
    if module.has(name):
        return name
    c_per, i_per = _gradient_tile(shape, registers)
    f = module.function(name, ["ptr in", "ptr dout", "ptr sums"])
    rows = max(1, min(shape.out, 96 // shape.out))
    for y0, chunks, height in split(shape.out, rows):
        with f.loop(0, chunks) as chunk:
            y = f.add(y0, f.mul(chunk, height))
            for i0, i_tiles, i_size in split(shape.c_in, i_per):
                with f.loop(0, i_tiles) as i_tile:
                    ci = f.add(i0, f.mul(i_tile, i_size))
                    for c0, c_tiles, c_size in split(shape.c_out, c_per):
                        micro = _gradient_micro(module, shape, out_row, height, c_size, i_size)
                        with f.loop(0, c_tiles) as c_tile, f.loop(0, 3) as ky:
                            co = f.add(c0, f.mul(c_tile, c_size))
                            source = f.add(f.mul(ci, shape.row**2), f.mul(f.add(y, ky), shape.row))
                            kernel = f.add(f.mul(f.add(f.mul(co, shape.c_in), ci), 3), ky)
                            slope = f.add(f.mul(co, out_row**2), f.mul(y, out_row))
                            f.call(
                                micro,
                                f"ptr {f.at_vec('%in', source)}",
                                f"ptr {f.at_vec('%dout', slope)}",
                                f"ptr {f.at_vec('%sums', f.mul(kernel, POINTS))}",
                            )
    f.end()
    return name


def _gradient_tile(shape: Shape, registers: int) -> tuple[int, int]:
    """Output and input channels of a tile of the weights' gradient."""
    best = (float("inf"), 1, 1)
    for channels in range(1, shape.c_out + 1):
        for inputs in range(1, shape.c_in + 1):
            # The sums, and the factors of the inputs and of one output channel.
            if (channels * inputs + inputs + 1) * POINTS >= registers:
                break
            cycles = 0
            for _, i_tiles, i_size in split(shape.c_in, inputs):
                for _, c_tiles, c_size in split(shape.c_out, channels):
                    products = c_size * i_size * POINTS
                    others = 2 * c_size + 4 * i_size + (2 * c_size + 4 * i_size) // 2
                    cycles += i_tiles * c_tiles * (max(products, 4) + others // 2)
            best = min(best, (cycles, channels, inputs))
    return best[1], best[2]


def _gradient_micro(module: Module, shape: Shape, out_row: int, rows: int, channels: int, inputs: int) -> str:
    """Adds the products of some rows to one tile of the weights' gradient."""
    name = f"winograd_grad_{shape.name}_o{out_row}_{rows}_{channels}x{inputs}"
    if module.has(name):
        return name
    f = module.function(name, ["ptr in", "ptr dout", "ptr sums"])
    places = {
        (co, ci, point): (co * shape.c_in + ci) * 3 * POINTS + point
        for co in range(channels)
        for ci in range(inputs)
        for point in range(POINTS)
    }
    sums = {key: f.var(f.load("%sums", place)) for key, place in places.items()}

    def add(source: str, target: str, *, both: bool) -> None:
        """The products of two columns of dout, or of the last one alone."""
        factors = [
            _differences(f, [f.load(source, ci * shape.row**2 + x) for x in range(4 if both else 3)])
            for ci in range(inputs)
        ]
        for co in range(channels):
            left = f.load(target, co * out_row**2)
            slopes = [left] * 3
            if both:
                right = f.load(target, co * out_row**2 + 1)
                slopes = [left, f.op("fadd", left, right), f.op("fsub", left, right), right]
            for ci in range(inputs):
                for point, (factor, slope) in enumerate(zip(factors[ci], slopes, strict=True)):
                    total = sums[co, ci, point]
                    f.set(total, f.fma(factor, slope, f.get(total)))

    with f.loop(0, rows) as y:
        source, target = f.at_vec("%in", f.mul(y, shape.row)), f.at_vec("%dout", f.mul(y, out_row))
        with f.loop(0, shape.out // 2) as pair:
            x = f.mul(pair, 2)
            add(f.at_vec(source, x), f.at_vec(target, x), both=True)
        if shape.out % 2:
            add(f.at_vec(source, shape.out - 1), f.at_vec(target, shape.out - 1), both=False)
    for key, place in places.items():
        f.store(f.get(sums[key]), "%sums", place)
    f.end()
    return name


def finish(module: Module) -> str:
    """`(ptr sums, ptr out, i64 rows)`: four sums a kernel's row to the slopes of its three weights."""
    name = "winograd_finish"
    if module.has(name):
        return name
    f = module.function(name, ["ptr sums", "ptr out", "i64 rows"])
    with f.loop(0, "%rows") as row:
        source, target = f.mul(row, POINTS), f.at("%out", f.mul(row, 3))
        first, second, third, last = (f.sum_lanes(f.load("%sums", f.add(source, i))) for i in range(POINTS))
        # The factors of the middle points were not halved.
        second, third = (f.op("fmul", v, "0.5", "float") for v in (second, third))
        both = f.op("fadd", second, third, "float")
        f.store_scalar(f.op("fadd", first, both, "float"), target, 0)
        f.store_scalar(f.op("fsub", second, third, "float"), target, 1)
        f.store_scalar(f.op("fsub", both, last, "float"), target, 2)
    f.end()
    return name
