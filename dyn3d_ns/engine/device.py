"""Settings that follow from the machine: device and threads."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Literal

import torch

from dyn3d_ns.engine.waiting_threads import yield_cores_to_others

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def default_device_type() -> Literal["cpu", "cuda"]:
    """Return "cuda" where torch can use an NVIDIA GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_cpu_threads() -> None:
    """Give all cores to our rasteriser and one to torch.

    The tensors between the rasteriser's calls are small; torch's threads would only wake up, wait for
    each other and keep the rasteriser's threads from running (1.2 to 1.3 times slower on two cores).
    """
    from dyn3d_ns.kernels.pool import set_num_threads

    torch.set_num_threads(1)
    set_num_threads(available_cores())


def give_torch_the_cores() -> None:
    """Give torch all cores that OMP_NUM_THREADS leaves it, for methods that spend their time in its networks.

    Call it after :func:`use_cpu_threads`, which gives torch one.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(min(int(given), available_cores()) if given.isdigit() else available_cores())
    yield_cores_to_others()


def flush_denormals() -> None:
    """Let numbers below 1e-38 be 0 in this thread and those it starts.

    A CPU takes up to six times as long with them; samples behind a surface have gradients of that size, and
    Adam squares them.
    """
    torch.set_flush_denormal(True)


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed, for the next tensor of their size; elsewhere do nothing.

    It gives each of some megabytes back to the system, whose fresh pages took two thirds of the time of
    rendering networks in chunks.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from other C libraries
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
