"""Device, threads and allocator: what of the machine a training run uses."""

import ctypes
import sys
from typing import Literal

import torch

from drill_models.errors import DrillError

DeviceName = Literal["cpu", "cuda"]


def resolve_device(wanted: Literal["auto", "cpu", "cuda"]) -> DeviceName:
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
