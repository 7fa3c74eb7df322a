"""Compiles LLVM's textual code for the processor at hand."""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import llvmlite.binding as llvm

from drill_models.errors import DrillError
from drill_models.native.plan import Unsupported

LANES_VARIABLE = "DRILL_VECTOR_LANES"
"""Environment variable that restricts the kernels to narrower vectors than the processor has."""


@dataclass(frozen=True)
class Processor:
    """What the kernels are made for.

    Attributes:
        lanes: Floats in a vector.
        registers: Vectors that it has registers for. A kernel that needs more would keep some in memory.
        cpu: LLVM's name of it, or empty for the processor at hand.
        features: LLVM's list of what it has beyond its name, where `cpu` is given.
    """

    lanes: int
    registers: int
    cpu: str = ""
    features: str = ""


_AVX2 = Processor(lanes=8, registers=16, cpu="x86-64-v3")
_FOUR_LANES = Processor(lanes=4, registers=16, cpu="x86-64-v2", features="+avx,+fma")


@cache
def processors() -> tuple[Processor, ...]:
    """Return the processor at hand, then what it can be restricted to, by falling width.

    Raises:
        Unsupported: It multiplies and adds in two instructions, for which the kernels are not made.
    """
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return Processor(lanes=16, registers=32), _AVX2, _FOUR_LANES
    if features.get("fma"):
        return Processor(lanes=8, registers=16), _FOUR_LANES
    triple = llvm.get_process_triple()
    if triple.startswith(("aarch64", "arm64")):
        return (Processor(lanes=4, registers=32),)
    raise Unsupported(f"kernels for this processor ({triple.split('-')[0]} without FMA)")


def processor() -> Processor:
    """Return what the kernels are made for: the processor at hand, or what `DRILL_VECTOR_LANES` restricts it to.

    Raises:
        Unsupported: The kernels are not made for it.
        DrillError: The variable names a width that it does not have.
    """
    possible = processors()
    asked = os.environ.get(LANES_VARIABLE, "")
    if not asked:
        return possible[0]
    for one in possible:
        if str(one.lanes) == asked:
            return one
    widths = ", ".join(str(one.lanes) for one in possible)
    raise DrillError(f"{LANES_VARIABLE} must be one of {widths} on this processor, got {asked!r}")


def target_machine(target: Processor) -> llvm.TargetMachine:
    """Return what makes machine code for a processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=target.cpu or llvm.get_host_cpu_name(),
        features=target.features if target.cpu else llvm.get_host_cpu_features().flatten(),
        opt=2,
    )


@lru_cache(maxsize=8)
def compiled(text: str, target: Processor) -> "Compiled":
    """Machine code of a module; what was compiled last is kept, for runs that differ in their seed only."""
    return Compiled(text, target)


class Compiled:
    """Machine code of a module; its functions stay callable as long as this lives."""

    def __init__(self, text: str, target: Processor) -> None:
        self._machine = target_machine(target)
        module = llvm.parse_assembly(text)
        module.triple = llvm.get_process_triple()
        module.data_layout = str(self._machine.target_data)
        # The code is written as it should run; only variables have to become registers. LLVM's usual
        # passes would double the time and change nothing that was measured.
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()
        passes.run(module, llvm.create_pass_builder(self._machine, llvm.create_pipeline_tuning_options()))
        self._engine = llvm.create_mcjit_compiler(module, self._machine)
        self._engine.finalize_object()

    def function(self, name: str, arguments: Sequence[type]) -> "ctypes._CFunctionType":
        """A function to call; it releases the interpreter's lock while it runs."""
        address = self._engine.get_function_address(name)
        return ctypes.CFUNCTYPE(None, *arguments)(address)
