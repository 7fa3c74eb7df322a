"""Compiles LLVM's textual code for the processor at hand."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import llvmlite.binding as llvm

from drill_models.native.plan import Unsupported


@dataclass(frozen=True)
class Processor:
    """What the kernels are made for.

    Attributes:
        lanes: Floats in a vector.
        registers: Vectors that it has registers for. A kernel that needs more would keep some in memory.
    """

    lanes: int
    registers: int


@cache
def processor() -> Processor:
    """The processor at hand.

    Raises:
        Unsupported: It multiplies and adds in two instructions, for which the kernels are not made.
    """
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return Processor(lanes=16, registers=32)
    if features.get("fma"):
        return Processor(lanes=8, registers=16)
    triple = llvm.get_process_triple()
    if triple.startswith(("aarch64", "arm64")):
        return Processor(lanes=4, registers=32)
    raise Unsupported(f"kernels for this processor ({triple.split('-')[0]} without FMA)")


@lru_cache(maxsize=8)
def compiled(text: str) -> "Compiled":
    """Machine code of a module; what was compiled last is kept, for runs that differ in their seed only."""
    return Compiled(text)


class Compiled:
    """Machine code of a module; its functions stay callable as long as this lives."""

    def __init__(self, text: str) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_triple(llvm.get_process_triple())
        self._machine = target.create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
        )
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
