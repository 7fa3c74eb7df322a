"""The program of one network: a pass forward, one back, and one for evaluation, over blocks of images.

All activations lie in one arena of vectors. Backward, each layer works block by block: the slope of the
convolution's output, the weights' gradient, the slope of its input and the reverse of what the layer
before did, while all of it is still in the cache.
"""

from drill_models.native import norm, pointwise, prelu, winograd
from drill_models.native.arena import Arena, Buffer
from drill_models.native.convolutions import Shape, convolution, flip, reduce, weight_gradient
from drill_models.native.emit import Function, Int, Module, number
from drill_models.native.plan import Layer, Plan

ARGUMENTS = ["ptr arena", "ptr parameters", "ptr running", "ptr slopes", "ptr keys", "i64 blocks", "float images"]
"""Of each exported function: arena, flat parameters, flat running statistics, flat slopes of the parameters,
dropout keys [layer][block], number of blocks, number of images."""


class Writer:
    """Writes the program of a plan."""

    def __init__(self, plan: Plan, arena: Arena, *, lanes: int, registers: int) -> None:
        self.layers = plan.layers
        self.arena = arena
        self.registers = registers
        self.module = Module(lanes)

    def write(self) -> str:
        """The whole program's text: `train_forward`, `train_backward` and `evaluate`."""
        self._train_forward()
        self._train_backward()
        self._evaluate()
        return self.module.text()

    # --- one layer

    def _convolution(self, f: Function, shape: Shape, weights: str, prepared: Buffer) -> tuple[str, str]:
        """The kernel of a convolution and the weights that it takes, made ready."""
        if not winograd.suits(shape, self.registers):
            return convolution(self.module, shape, self.registers), f"ptr {weights}"
        target = self._whole(f, prepared)
        f.call(winograd.prepare(self.module), f"ptr {weights}", target, f"i64 {shape.c_in * shape.c_out * 3}")
        return winograd.convolution(self.module, shape, self.registers), target

    def _forward_convolution(self, f: Function, index: int) -> tuple[str, str]:
        layer = self.layers[index]
        weights = f.at("%parameters", layer.weights)
        return self._convolution(f, layer.shape, weights, self.arena.prepared[index])

    def _back_convolution(self, f: Function, index: int) -> tuple[str, str]:
        layer = self.layers[index]
        flipped = f.at_vec("%arena", self.arena.flipped[index].start)
        f.call(flip(self.module, layer.shape), f"ptr {f.at('%parameters', layer.weights)}", f"ptr {flipped}")
        return self._convolution(f, layer.back_shape, flipped, self.arena.back_prepared[index])

    def _weight_gradient(self, index: int) -> tuple[str, str, int]:
        """The kernel of the weights' gradient, that which ends its sums, and how many of them that takes."""
        layer = self.layers[index]
        row = layer.back_shape.row
        if winograd.suits(layer.shape, self.registers):
            kernel = winograd.weight_gradient(self.module, layer.shape, row, self.registers)
            return kernel, winograd.finish(self.module), layer.n_weights // 3
        kernel = weight_gradient(self.module, layer.shape, row, self.registers)
        return kernel, reduce(self.module), layer.n_weights

    def _skip_pad(self, layer: Layer) -> int:
        return 0 if layer.skip is None else self.layers[layer.skip].pad

    def _block(self, f: Function, buffer: Buffer, b: Int) -> str:
        return f"ptr {f.at_vec('%arena', f.add(buffer.start, f.mul(b, buffer.stride)))}"

    def _whole(self, f: Function, buffer: Buffer) -> str:
        return f"ptr {f.at_vec('%arena', buffer.start)}"

    def _key(self, f: Function, index: int, b: Int) -> str:
        """The dropout key of a layer and block; nothing is read where nothing is dropped."""
        if "dropout" not in self.layers[index].ops:
            return "i32 0"
        at = f.add(f.mul(index, "%blocks"), b)
        pointer = f.pure(f"getelementptr inbounds i32, ptr %keys, i64 {at}")
        return f"i32 {f.value(f'load i32, ptr {pointer}, align 4')}"

    def _values(self, f: Function, layer: Layer) -> str:
        return f"float {f.op('fmul', '%images', number(layer.out**2), 'float')}"

    def _skip(self, f: Function, layer: Layer, b: Int) -> str:
        return "ptr null" if layer.skip is None else self._block(f, self.arena.inputs[layer.skip], b)

    def _hand_on(self, f: Function, index: int, b: Int, *, training: bool, buffer_block: Int) -> None:
        """From a convolution's output to the next layer's input, or to the features."""
        layer, last = self.layers[index], index == len(self.layers) - 1
        name = pointwise.forward(
            self.module,
            layer,
            index,
            skip_pad=self._skip_pad(layer),
            next_pad=0 if last else self.layers[index + 1].pad,
            last=last,
            training=training,
        )
        target = self._block(f, self.arena.features, b)
        if not last:
            target = self._block(f, self.arena.inputs[index + 1], buffer_block)
        skip = self._skip(f, layer, b if layer.skip == 0 else buffer_block)
        raw = self._block(f, self.arena.raw[index], buffer_block)
        key = self._key(f, index, b) if training else "i32 0"
        f.call(name, raw, skip, self._whole(f, self.arena.coefficients[index]), target, key)

    def _spread_slopes(self, f: Function) -> None:
        """Hands PReLU's slopes to the layers that have one."""
        for layer, coefficients in zip(self.layers, self.arena.coefficients, strict=True):
            if "prelu" in layer.ops:
                slope = f"ptr {f.at('%parameters', layer.prelu)}"
                f.call(prelu.spread(self.module), self._whole(f, coefficients), slope, f"i64 {layer.c_out}")

    # --- the three passes

    def _train_forward(self) -> None:
        f = self.module.function("train_forward", ARGUMENTS, exported=True)
        self._spread_slopes(f)
        for i, layer in enumerate(self.layers):
            has_norm = "batch_norm" in layer.ops
            conv, weights = self._forward_convolution(f, i)
            sums = norm.statistics(self.module, layer, i) if has_norm else ""
            with f.loop(0, "%blocks") as b:
                if i > 0:
                    self._hand_on(f, i - 1, b, training=True, buffer_block=b)
                raw = self._block(f, self.arena.raw[i], b)
                f.call(conv, self._block(f, self.arena.inputs[i], b), weights, raw)
                if has_norm:
                    f.call(
                        sums,
                        raw,
                        self._whole(f, self.arena.coefficients[i]),
                        self._whole(f, self.arena.forward_sums[i]),
                        self._block(f, self.arena.lanes, b),
                        self._key(f, i, b),
                    )
            if has_norm:
                f.call(
                    norm.finish_statistics(self.module),
                    self._whole(f, self.arena.forward_sums[i]),
                    self._whole(f, self.arena.coefficients[i]),
                    f"ptr {f.at('%parameters', layer.norm)}",
                    f"ptr {f.at('%running', layer.running)}",
                    self._values(f, layer),
                    f"i64 {layer.c_out}",
                )
        with f.loop(0, "%blocks") as b:
            self._hand_on(f, len(self.layers) - 1, b, training=True, buffer_block=b)
        f.end()

    def _reverse(self, f: Function, index: int, b: Int, dout: str) -> None:
        """From the slope of what a layer hands on to that of batch norm's output."""
        layer = self.layers[index]
        keeps = layer.skip is not None and layer.skip > 0
        name = pointwise.backward(
            self.module,
            layer,
            index,
            skip_pad=self._skip_pad(layer),
            last=index == len(self.layers) - 1,
            keeps_skip=keeps,
        )
        f.call(
            name,
            self._block(f, self.arena.raw[index], b),
            self._skip(f, layer, b),
            self._whole(f, self.arena.coefficients[index]),
            dout,
            self._block(f, self.arena.slope[index], b),
            self._block(f, self.arena.skip_slope[layer.skip], b) if keeps and layer.skip else "ptr null",
            self._whole(f, self.arena.backward_sums[index]),
            self._key(f, index, b),
        )

    def _train_backward(self) -> None:
        f = self.module.function("train_backward", ARGUMENTS, exported=True)
        with f.loop(0, "%blocks") as b:
            self._reverse(f, len(self.layers) - 1, b, self._block(f, self.arena.feature_slope, b))
        sources = {layer.skip for layer in self.layers}
        for i in reversed(range(len(self.layers))):
            layer = self.layers[i]
            if "batch_norm" in layer.ops:
                f.call(
                    norm.finish_slopes(self.module),
                    self._whole(f, self.arena.backward_sums[i]),
                    self._whole(f, self.arena.coefficients[i]),
                    f"ptr {f.at('%slopes', layer.norm)}",
                    self._values(f, layer),
                    f"i64 {layer.c_out}",
                )
            gradient, finish, n_sums = self._weight_gradient(i)
            to_conv = pointwise.input_slope(self.module, layer, i)
            back, flipped = self._back_convolution(f, i) if i > 0 else ("", "")
            padded, here = self._whole(f, self.arena.padded_slope[i]), self._whole(f, self.arena.input_slope)
            sums = self._whole(f, self.arena.weight_sums[i])
            inside = f.at_vec(
                "%arena", self.arena.padded_slope[i].start + layer.back_pad * (layer.back_shape.row + 1)
            )
            with f.loop(0, "%blocks") as b:
                f.call(
                    to_conv,
                    self._block(f, self.arena.raw[i], b),
                    self._whole(f, self.arena.coefficients[i]),
                    self._block(f, self.arena.slope[i], b),
                    padded,
                    self._block(f, self.arena.lanes, b),
                    self._whole(f, self.arena.backward_sums[i]),
                    self._key(f, i, b),
                )
                if self.arena.inputs[i].stride == 0:
                    # Made again: to keep it would take more time in memory.
                    self._hand_on(f, i - 1, b, training=True, buffer_block=b)
                f.call(gradient, self._block(f, self.arena.inputs[i], b), f"ptr {inside}", sums)
                if i > 0:
                    f.call(back, padded, flipped, here)
                    if i in sources:
                        n = layer.c_in * layer.size**2
                        f.call(
                            pointwise.add_to(self.module),
                            self._block(f, self.arena.skip_slope[i], b),
                            here,
                            f"i64 {n}",
                        )
                    self._reverse(f, i - 1, b, here)
            f.call(finish, sums, f"ptr {f.at('%slopes', layer.weights)}", f"i64 {n_sums}")
            if "prelu" in layer.ops:
                total = f.at_vec("%arena", self.arena.backward_sums[i].start + 2 * layer.c_out)
                f.call(reduce(self.module), f"ptr {total}", f"ptr {f.at('%slopes', layer.prelu)}", "i64 1")
        f.end()

    def _evaluate(self) -> None:
        f = self.module.function("evaluate", ARGUMENTS, exported=True)
        self._spread_slopes(f)
        for i, layer in enumerate(self.layers):
            if "batch_norm" in layer.ops:
                f.call(
                    norm.running_coefficients(self.module),
                    self._whole(f, self.arena.coefficients[i]),
                    f"ptr {f.at('%parameters', layer.norm)}",
                    f"ptr {f.at('%running', layer.running)}",
                    f"i64 {layer.c_out}",
                )
        convolutions = [self._forward_convolution(f, i) for i in range(len(self.layers))]
        # Each block goes through the whole network in the first block's buffers, which stay in the cache.
        with f.loop(0, "%blocks") as b:
            for i, (conv, weights) in enumerate(convolutions):
                source = self._block(f, self.arena.inputs[i], b if i == 0 else 0)
                f.call(conv, source, weights, self._block(f, self.arena.raw[i], 0))
                self._hand_on(f, i, b, training=False, buffer_block=0)
        f.end()
