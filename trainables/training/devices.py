"""The device that a run trains on: choice, deterministic settings, memory."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from trainables.run.recipe import Recipe


def pick_device() -> torch.device:
    """Return the CUDA device if this process may use one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_deterministic(recipe: Recipe, threads: int) -> None:
    """Configure torch in this process: deterministic algorithms, TF32 and number of threads.

    The number of threads is part of a spec, since it determines the order of additions.

    Args:
        recipe: recipe of the run, of which `tf32` is used.
        threads: number of CPU threads.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = recipe.tf32
    torch.backends.cudnn.allow_tf32 = recipe.tf32
    torch.set_num_threads(threads)


def device_name(device: torch.device) -> str:
    """Return the name of a device as in records, such as "cuda: NVIDIA H200" or "cpu: AVX2"."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu: {torch.backends.cpu.get_cpu_capability()}"


_PEAK_RESET = "5"
"""Code that, written to Linux's `clear_refs`, resets the peak memory of a process."""


def reset_peak_memory() -> None:
    """Reset the measurement of peak memory, if the system supports it.

    A worker trains several runs in one process.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_PEAK_RESET)


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory since `reset_peak_memory`, in 10^6 bytes.

    On a GPU this is the memory of tensors, on the CPU that of the whole process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports a lack of memory, on the GPU or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
