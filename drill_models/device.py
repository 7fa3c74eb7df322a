"""Device, threads and allocator: what of the machine a training run uses."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from drill_models.backend import Backend, DeviceName, DeviceOption, EngineOption, PrecisionOption
from drill_models.errors import DrillError

MAX_A_GPU = 4
"""Trials that train on one GPU at a time, unless said otherwise."""


def resolve_backend(device: DeviceOption, engine: EngineOption, precision: PrecisionOption) -> Backend:
    """What `auto` means here: the GPU where there is one, and fp32.

    Raises:
        DrillError: What was asked for is not to be had, or does not go together.
    """
    where = resolve_device(device)
    if precision == "auto":
        precision = "fp32"
    if engine == "native":
        if where == "cuda":
            raise DrillError("--engine native trains on the CPU only; use --engine torch or --device cpu")
        if precision == "bf16":
            raise DrillError("--engine native trains in fp32 only; use --engine torch or --precision fp32")
    if where == "cuda" or precision == "bf16":
        engine = "torch"
    return Backend(device=where, engine=engine, precision=precision)


def resolve_device(wanted: DeviceOption) -> DeviceName:
    """`auto` is the GPU where PyTorch sees one, else the CPU.

    Raises:
        DrillError: `cuda` was asked for and PyTorch sees no CUDA GPU.
    """
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise DrillError("--device cuda: PyTorch sees no CUDA GPU here; use --device cpu or auto")
    return "cpu"


def usable_cores() -> int:
    """Cores that this process may use: those of the machine, its CPU affinity and its cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else os.cpu_count() or 1
    return max(1, int(min(cores, _cpu_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))))


def _cpu_quota(groups: Path, root: Path) -> float:
    """The smallest CPU quota, in cores, of this process's cgroups and their parents; infinite without one.

    Version 2 writes `cpu.max` as "quota period" or "max period"; version 1 has a file for each, and -1.
    """
    least = float("inf")
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return least
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        # In a container the path may be the host's, which does not exist here; the top then says it.
        for folder in (top / path.lstrip("/"), *(top / path.lstrip("/")).parents):
            if not folder.is_relative_to(top):
                break
            try:
                if controllers:
                    quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8")
                    period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
                else:
                    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
                cores = float(quota) / float(period)
            except (OSError, ValueError):
                continue  # no such file, or "max"
            if cores > 0:
                least = min(least, cores)
    return least


def default_workers(device: DeviceName) -> int:
    """How many trials train at a time: one a usable core; on CUDA up to four a GPU, which tiny networks share."""
    if device == "cpu":
        return usable_cores()
    gpus = max(1, torch.cuda.device_count())
    return gpus * max(1, min(MAX_A_GPU, usable_cores() // gpus))


def limit_threads(workers: int) -> None:
    """Gives this process its share of the cores, so that workers times threads are never more than those.

    Fewer threads, by OMP_NUM_THREADS for example, are left as they are.
    """
    torch.set_num_threads(min(torch.get_num_threads(), threads_each(workers)))


def threads_each(workers: int) -> int:
    """Threads of one of so many processes that train side by side."""
    return max(1, usable_cores() // workers)


@contextmanager
def using_threads(n: int) -> Iterator[None]:
    """Within it, PyTorch has so many threads in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Tells glibc to keep big freed blocks instead of giving them back to the kernel.

    Each batch frees and allocates the same activations; handing them back costs page faults that took
    a fifth of a training step on a 2-core machine. Does nothing where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return  # musl has no mallopt
    limit = 2**30
    mallopt(m_mmap_threshold, limit)
    mallopt(m_trim_threshold, limit)


def give_back_memory() -> None:
    """Tells glibc to give freed memory back after all: between two networks, whose sizes differ."""
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        return  # musl has no malloc_trim
