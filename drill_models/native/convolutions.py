"""Convolution kernels over one block of images: channels x rows x columns x lanes.

A lane is an image, so that every multiplication uses a whole vector, whatever the number of channels.
A tile of the output, some channels by some columns, stays in registers while the inputs stream by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drill_models.native.emit import Module


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One convolution over an input that has its padding.

    Attributes:
        c_in: Channels in.
        c_out: Channels out.
        kernel: Side of the kernel.
        row: Columns of the input, padding included; it has as many rows.
        depthwise: Each channel has its own kernel.
        stride: Pixels of the input from one output to the next.
    """

    c_in: int
    c_out: int
    kernel: int
    row: int
    depthwise: bool = False
    stride: int = 1

    @property
    def out(self) -> int:
        """Side of the output."""
        return (self.row - self.kernel) // self.stride + 1

    @property
    def name(self) -> str:
        """Names the kernel of this shape."""
        kind = ("dw" if self.depthwise else "conv") + (f"_s{self.stride}" if self.stride > 1 else "")
        return f"{kind}_{self.c_in}_{self.c_out}_k{self.kernel}_r{self.row}"

    def reach(self, columns: int) -> int:
        """Columns of the input that so many neighbouring outputs see."""
        return (columns - 1) * self.stride + self.kernel


def split(n: int, most: int) -> list[tuple[int, int, int]]:
    """Cuts n into as few parts as `most` allows, of about one size: (first, parts, size), at most two sizes."""
    parts = -(-n // most)
    small, larger = divmod(n, parts)
    cuts = [(0, larger, small + 1), (larger * (small + 1), parts - larger, small)]
    return [cut for cut in cuts if cut[1] > 0]


def convolution(module: Module, shape: Shape, registers: int) -> str:
    """`(ptr in, ptr weights, ptr out)`: out[co] = sum over ci of in[ci] * weights[co][ci]; returns its name."""
    name = shape.name
    if module.has(name):
        return name
    channels, columns = _tile(shape, registers)
    weights = shape.kernel**2 * (1 if shape.depthwise else shape.c_in)
    return over_tiles(module, name, shape, split(shape.out, columns), channels, weights, _micro)


def over_tiles(
    module: Module,
    name: str,
    shape: Shape,
    columns: Sequence[tuple[int, int, int]],
    channels: int,
    weights: int,
    micro: Callable[[Module, Shape, int, int], str],
) -> str:
    """`(ptr in, ptr weights, ptr out)`: a convolution, tile by tile; returns its name.

    Args:
        module: Where the kernel goes.
        name: Its name.
        shape: The convolution.
        columns: How a row of the output is cut: (first, parts, size).
        channels: Output channels of a tile, at most.
        weights: Floats of weights an output channel.
        micro: Writes the kernel of a tile of so many channels and columns.
    """
    f = module.function(name, ["ptr in", "ptr w", "ptr out"])
    with f.loop(0, shape.out) as y:
        for x0, x_tiles, width in columns:
            with f.loop(0, x_tiles) as tile:
                x = f.add(x0, f.mul(tile, width))
                corner = f.add(f.mul(y, shape.stride * shape.row), f.mul(x, shape.stride))
                source = f.at_vec("%in", corner)
                target = f.at_vec("%out", f.add(f.mul(y, shape.out), x))
                for c0, c_tiles, height in split(shape.c_out, channels):
                    kernel = micro(module, shape, height, width)
                    with f.loop(0, c_tiles) as c_tile:
                        c = f.add(c0, f.mul(c_tile, height))
                        begin = f.at_vec(source, f.mul(c, shape.row**2)) if shape.depthwise else source
                        f.call(
                            kernel,
                            f"ptr {begin}",
                            f"ptr {f.at('%w', f.mul(c, weights))}",
                            f"ptr {f.at_vec(target, f.mul(c, shape.out**2))}",
                        )
    f.end()
    return name


def _tile(shape: Shape, registers: int) -> tuple[int, int]:
    """Channels and columns of a tile, by the fewest cycles: a multiplication or two loads each."""
    k = shape.kernel
    best = (float("inf"), 1, 1)
    for channels in range(1, 2 if shape.depthwise else shape.c_out + 1):
        for columns in range(1, shape.out + 1):
            # The sums, a weight, and a row of inputs; where that serves one column, they need not be held.
            inputs = shape.reach(columns) if columns > 1 else 1
            if channels * columns + inputs + 1 > registers:
                break
            cycles = 0
            for _, x_tiles, width in split(shape.out, columns):
                for _, c_tiles, height in split(shape.c_out, channels):
                    # Four cycles until a sum can be added to again.
                    products = max(height * width, 4) * k
                    cycles += x_tiles * c_tiles * (products + (height * k + shape.reach(width)) // 2)
            best = min(best, (cycles, channels, columns))
    return best[1], best[2]


def _micro(module: Module, shape: Shape, height: int, width: int) -> str:
    """One tile of the output: `height` channels by `width` columns."""
    name = f"{shape.name}_{height}x{width}"
    if module.has(name):
        return name
    f = module.function(name, ["ptr in", "ptr w", "ptr out"])
    k = shape.kernel
    sums = [[f.var("zeroinitializer") for _ in range(width)] for _ in range(height)]
    with f.loop(0, 1 if shape.depthwise else shape.c_in) as ci:
        plane = f.at_vec("%in", f.mul(ci, shape.row**2))
        weights = f.at("%w", f.mul(ci, k * k))
        # Large kernels in a loop over their rows, small ones written out.
        for first, turns, rows in split(k, 3) if k <= 3 else [(0, k, 1)]:
            with f.loop(0, turns) as turn:
                for ky in (f.add(f.add(first, f.mul(turn, rows)), row) for row in range(rows)):
                    line = f.at_vec(plane, f.mul(ky, shape.row))
                    inputs = [f.load(line, x) for x in range(shape.reach(width))]
                    of_row = f.at(weights, f.mul(ky, k))
                    for kx in range(k):
                        for co in range(height):
                            w = f.load_splat(of_row, co * k * k * shape.c_in + kx)
                            for x in range(width):
                                f.set(sums[co][x], f.fma(w, inputs[x * shape.stride + kx], f.get(sums[co][x])))
    for co in range(height):
        for x in range(width):
            f.store(f.get(sums[co][x]), "%out", co * shape.out**2 + x)
    f.end()
    return name


def weight_gradient(module: Module, shape: Shape, out_row: int, registers: int) -> str:
    """`(ptr in, ptr dout, ptr sums)`: adds in * dout to sums[co][ci][ky][kx], a vector each; returns its name.

    Args:
        module: Where the kernel goes.
        shape: The convolution.
        out_row: Columns of a row of dout where it lies in a padded buffer; `dout` points at its first pixel.
            With stride 2, zeros stand between its pixels.
        registers: Sums in registers at once.
    """
    name = f"grad_{shape.name}_o{out_row}"
    if module.has(name):
        return name
    f = module.function(name, ["ptr in", "ptr dout", "ptr sums"])
    k, s, c_in = shape.kernel, shape.stride, 1 if shape.depthwise else shape.c_in
    c_per, i_per, kx_per = _gradient_tile(shape, registers)
    rows = max(1, min(shape.out, 96 // shape.out))
    for y0, chunks, height in split(shape.out, rows):
        with f.loop(0, chunks) as chunk:
            y = f.add(y0, f.mul(chunk, height))
            for i0, i_tiles, i_size in split(c_in, i_per):
                with f.loop(0, i_tiles) as i_tile:
                    ci = f.add(i0, f.mul(i_tile, i_size))
                    for c0, c_tiles, c_size in split(shape.c_out, c_per):
                        with f.loop(0, c_tiles) as c_tile:
                            co = f.add(c0, f.mul(c_tile, c_size))
                            with f.loop(0, k) as ky:
                                for kx0, kx_tiles, kx_size in split(k, kx_per):
                                    with f.loop(0, kx_tiles) as kx_tile:
                                        kx = f.add(kx0, f.mul(kx_tile, kx_size))
                                        micro = _gradient_micro(
                                            module, shape, out_row, height, c_size, i_size, kx_size
                                        )
                                        plane = f.mul(co if shape.depthwise else ci, shape.row**2)
                                        corner = f.add(f.mul(f.add(f.mul(y, s), ky), shape.row), kx)
                                        at = f.add(f.mul(co, c_in), ci)
                                        at = f.add(f.mul(f.add(f.mul(at, k), ky), k), kx)
                                        out = f.add(f.mul(co, out_row**2), f.mul(y, s * out_row))
                                        f.call(
                                            micro,
                                            f"ptr {f.at_vec('%in', f.add(plane, corner))}",
                                            f"ptr {f.at_vec('%dout', out)}",
                                            f"ptr {f.at_vec('%sums', at)}",
                                        )
    f.end()
    return name


def _gradient_tile(shape: Shape, registers: int) -> tuple[int, int, int]:
    """Output channels, input channels and kernel columns of a tile of the weights' gradient."""
    if shape.depthwise:
        return 1, 1, min(shape.kernel, registers)
    best = (float("inf"), 1, 1, 1)
    k = shape.kernel
    for kx in {min(k, 3), min(k, 5), k}:
        for channels in range(1, shape.c_out + 1):
            for inputs in range(1, shape.c_in + 1):
                # The sums, an output's slopes and an input.
                if channels * inputs * kx + channels + 1 >= registers:
                    break
                cycles = 0
                for _, kx_tiles, kx_size in split(k, kx):
                    for _, i_tiles, i_size in split(shape.c_in, inputs):
                        for _, c_tiles, c_size in split(shape.c_out, channels):
                            tiles = kx_tiles * i_tiles * c_tiles
                            cycles += tiles * (max(c_size * i_size * kx_size, 4) + c_size + i_size * kx_size)
                best = min(best, (cycles, channels, inputs, kx))
    return best[1], best[2], best[3]


def _gradient_micro(
    module: Module, shape: Shape, out_row: int, rows: int, channels: int, inputs: int, kx: int
) -> str:
    """Adds the products of some rows to one tile of the weights' gradient."""
    name = f"grad_{shape.name}_o{out_row}_{rows}_{channels}x{inputs}x{kx}"
    if module.has(name):
        return name
    f = module.function(name, ["ptr in", "ptr dout", "ptr sums"])
    k, c_in = shape.kernel, 1 if shape.depthwise else shape.c_in
    places = {
        (co, ci, x): (co * c_in + ci) * k * k + x
        for co in range(channels)
        for ci in range(inputs)
        for x in range(kx)
    }
    sums = {key: f.var(f.load("%sums", place)) for key, place in places.items()}
    with f.loop(0, rows) as y:
        line = f.mul(y, shape.stride)
        source, target = f.at_vec("%in", f.mul(line, shape.row)), f.at_vec("%dout", f.mul(line, out_row))
        with f.loop(0, shape.out) as x:
            column = f.mul(x, shape.stride)
            in_x, out_x = f.at_vec(source, column), f.at_vec(target, column)
            slopes = [f.load(out_x, co * out_row**2) for co in range(channels)]
            for ci in range(inputs):
                for shift in range(kx):
                    v = f.load(in_x, ci * shape.row**2 + shift)
                    for co in range(channels):
                        f.set(sums[co, ci, shift], f.fma(v, slopes[co], f.get(sums[co, ci, shift])))
    for key, place in places.items():
        f.store(f.get(sums[key]), "%sums", place)
    f.end()
    return name


def flip(module: Module, shape: Shape) -> str:
    """`(ptr weights, ptr out)`: the weights of the convolution that leads slopes back: turned, and transposed."""
    k, c_in, c_out = shape.kernel, 1 if shape.depthwise else shape.c_in, shape.c_out
    name = f"flip_{c_in}_{c_out}_{k}_{'dw' if shape.depthwise else 'conv'}"
    if module.has(name):
        return name
    f = module.function(name, ["ptr weights", "ptr out"])
    area = k * k
    with f.loop(0, c_out) as co, f.loop(0, c_in) as ci:
        source = f.at("%weights", f.mul(f.add(f.mul(co, c_in), ci), area))
        place = co if shape.depthwise else f.add(f.mul(ci, c_out), co)
        target = f.at("%out", f.mul(place, area))
        for i in range(area):
            f.store_scalar(f.load_scalar(source, i), target, area - 1 - i)
    f.end()
    return name


def reduce(module: Module) -> str:
    """`(ptr from, ptr to, i64 n)`: n vectors' sums over their lanes, as scalars."""
    name = "reduce"
    if module.has(name):
        return name
    f = module.function(name, ["ptr from", "ptr to", "i64 n"])
    with f.loop(0, "%n") as i:
        f.store_scalar(f.sum_lanes(f.load("%from", i)), "%to", i)
    f.end()
    return name
