"""Writes LLVM's textual code: just what the kernels here need of it.

A vector holds one number for each of `lanes` images. An `Int` is either a Python number, folded while
the code is written, or the name of a value.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Int = int | str


class Module:
    """The functions of one program; a function that is asked for twice is written once."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self._functions: dict[str, str] = {}
        self._declared: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether a function of this name is there."""
        return name in self._functions

    def function(self, name: str, args: Sequence[str], *, exported: bool = False) -> "Function":
        """Begins a function without result; `args` read like `ptr x` or `i64 n`."""
        self._functions[name] = ""
        return Function(self, name, args, exported=exported)

    def finish(self, name: str, text: str) -> None:
        """Takes a function's text."""
        self._functions[name] = text

    def declare(self, line: str) -> None:
        """Names an intrinsic that is called."""
        self._declared.add(line)

    def text(self) -> str:
        """The whole module."""
        return "\n".join([*sorted(self._declared), *self._functions.values()])


class Function:
    """One function while it is written."""

    def __init__(self, module: Module, name: str, args: Sequence[str], *, exported: bool) -> None:
        self.module = module
        self.name = name
        self.lanes = module.lanes
        self.vec = f"<{self.lanes} x float>"
        self.ivec = f"<{self.lanes} x i32>"
        self._args = args
        self._exported = exported
        self._lines: list[str] = []
        self._allocas: list[str] = []
        self._count = 0
        self._block = "entry"
        self._known: list[dict[str, str]] = [{}]

    # --- plumbing

    def line(self, text: str) -> None:
        """Writes one instruction that has no value."""
        self._lines.append("  " + text)

    def pure(self, text: str) -> str:
        """Names the value of an instruction that depends on its operands alone; written once where it holds."""
        for known in self._known:
            if text in known:
                return known[text]
        name = self._known[-1][text] = self.value(text)
        return name

    def value(self, text: str) -> str:
        """Writes one instruction and names its value."""
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"  {name} = {text}")
        return name

    def end(self) -> None:
        """Closes the function and hands it to its module."""
        args = ", ".join(
            a.replace("ptr ", "ptr noalias %") if a.startswith("ptr ") else a.replace(" ", " %")
            for a in self._args
        )
        linkage = "" if self._exported else "internal "
        inline = "" if self._exported else " noinline"
        body = "\n".join([*self._allocas, *self._lines])
        self.module.finish(
            self.name,
            f"define {linkage}void @{self.name}({args}){inline} nounwind {{\nentry:\n{body}\n  ret void\n}}",
        )

    @contextmanager
    def loop(self, start: Int, stop: Int, step: int = 1) -> Iterator[Int]:
        """Counts from `start` in steps while below `stop`; at least one turn. A single turn is no loop."""
        if isinstance(start, int) and isinstance(stop, int) and start + step >= stop:
            yield start
            return
        self._count += 1
        label = f"loop{self._count}"
        before, counter, after = self._block, f"%i{self._count}", f"%n{self._count}"
        self.line(f"br label %{label}")
        self._lines.append(f"{label}:")
        at = len(self._lines)
        self._lines.append("")  # the phi, once the last block is known
        self._block = label
        self._known.append({})
        yield counter
        self._known.pop()
        self.line(f"{after} = add nuw nsw i64 {counter}, {step}")
        again = self.value(f"icmp slt i64 {after}, {stop}")
        self.line(f"br i1 {again}, label %{label}, label %{label}.end")
        self._lines[at] = f"  {counter} = phi i64 [ {start}, %{before} ], [ {after}, %{self._block} ]"
        self._lines.append(f"{label}.end:")
        self._block = f"{label}.end"

    def call(self, name: str, *args: str) -> None:
        """Calls a function of the module; arguments with their types."""
        self.line(f"call void @{name}({', '.join(args)})")

    # --- whole numbers

    def add(self, a: Int, b: Int) -> Int:
        """a + b."""
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 or b == 0:
            return b if a == 0 else a
        return self.pure(f"add nsw i64 {a}, {b}")

    def mul(self, a: Int, b: Int) -> Int:
        """a * b."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 0 or b == 0:
            return 0
        if a == 1 or b == 1:
            return b if a == 1 else a
        return self.pure(f"mul nsw i64 {a}, {b}")

    # --- memory; offsets are in floats

    def at(self, pointer: str, offset: Int) -> str:
        """A pointer so many floats further."""
        return pointer if offset == 0 else self.pure(f"getelementptr inbounds float, ptr {pointer}, i64 {offset}")

    def at_vec(self, pointer: str, offset: Int) -> str:
        """A pointer so many vectors further."""
        return self.at(pointer, self.mul(offset, self.lanes))

    def load(self, pointer: str, offset: Int = 0) -> str:
        """A vector; the offset is in vectors."""
        return self.value(f"load {self.vec}, ptr {self.at_vec(pointer, offset)}, align {4 * self.lanes}")

    def store(self, v: str, pointer: str, offset: Int = 0) -> None:
        """Writes a vector; the offset is in vectors."""
        self.line(f"store {self.vec} {v}, ptr {self.at_vec(pointer, offset)}, align {4 * self.lanes}")

    def load_scalar(self, pointer: str, offset: Int = 0) -> str:
        """One float; the offset is in floats."""
        return self.value(f"load float, ptr {self.at(pointer, offset)}, align 4")

    def store_scalar(self, v: str, pointer: str, offset: Int = 0) -> None:
        """Writes one float; the offset is in floats."""
        self.line(f"store float {v}, ptr {self.at(pointer, offset)}, align 4")

    def load_splat(self, pointer: str, offset: Int = 0) -> str:
        """One float of memory in all lanes."""
        return self.splat(self.load_scalar(pointer, offset))

    # --- variables, which the compiler turns into registers

    def var(self, start: str) -> str:
        """A vector that changes."""
        self._count += 1
        name = f"%a{self._count}"
        self._allocas.append(f"  {name} = alloca {self.vec}")
        self.set(name, start)
        return name

    def get(self, var: str) -> str:
        """A variable's value."""
        return self.value(f"load {self.vec}, ptr {var}")

    def set(self, var: str, v: str) -> None:
        """Changes a variable."""
        self.line(f"store {self.vec} {v}, ptr {var}")

    # --- floats: vectors, or scalars where `kind` is "float"

    def splat(self, scalar: str) -> str:
        """A scalar in all lanes."""
        one = self.pure(f"insertelement {self.vec} poison, float {scalar}, i64 0")
        return self.pure(f"shufflevector {self.vec} {one}, {self.vec} poison, {self.ivec} zeroinitializer")

    def const(self, x: float) -> str:
        """A constant in all lanes."""
        return "zeroinitializer" if x == 0 else "<" + ", ".join([f"float {number(x)}"] * self.lanes) + ">"

    def op(self, name: str, a: str, b: str, kind: str = "") -> str:
        """fadd, fsub, fmul or fdiv."""
        return self.pure(f"{name} {kind or self.vec} {a}, {b}")

    def fma(self, a: str, b: str, c: str, kind: str = "") -> str:
        """a * b + c."""
        kind = kind or self.vec
        suffix = "f32" if kind == "float" else f"v{self.lanes}f32"
        self.module.declare(f"declare {kind} @llvm.fma.{suffix}({kind}, {kind}, {kind})")
        return self.pure(f"call {kind} @llvm.fma.{suffix}({kind} {a}, {kind} {b}, {kind} {c})")

    def sum_lanes(self, v: str) -> str:
        """The sum of a vector's lanes, as a scalar."""
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f32"
        self.module.declare(f"declare float @{name}(float, {self.vec})")
        return self.pure(f"call reassoc float @{name}(float -0.0, {self.vec} {v})")

    def sqrt(self, x: str) -> str:
        """Square root of a scalar."""
        self.module.declare("declare float @llvm.sqrt.f32(float)")
        return self.pure(f"call float @llvm.sqrt.f32(float {x})")

    def not_negative(self, x: str) -> str:
        """A scalar, or zero where it is below; a NaN stays one."""
        below = self.pure(f"fcmp olt float {x}, 0.0")
        return self.pure(f"select i1 {below}, float 0.0, float {x}")

    def larger(self, best: str, v: str) -> str:
        """The larger of two vectors; a NaN is larger than all."""
        more = self.compare("ogt", v, best)
        mask = f"<{self.lanes} x i1>"
        more = self.pure(f"or {mask} {more}, {self.compare('uno', v, v)}")
        return self.choose(more, v, best)

    def choose(self, mask: str, a: str, b: str) -> str:
        """a where the mask is set, else b."""
        return self.pure(f"select <{self.lanes} x i1> {mask}, {self.vec} {a}, {self.vec} {b}")

    def compare(self, how: str, a: str, b: str) -> str:
        """A mask: ogt, olt ..."""
        return self.pure(f"fcmp {how} {self.vec} {a}, {b}")


def number(x: float) -> str:
    """A constant as LLVM writes it: the bits of the double that equals the nearest float."""
    (nearest,) = struct.unpack("f", struct.pack("f", x))
    return f"0x{struct.unpack('<Q', struct.pack('<d', nearest))[0]:016X}"
