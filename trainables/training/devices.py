"""The device (CPU or GPU) of a run: its choice, deterministic settings and memory use."""

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
    """Return the CUDA device if this process has access to one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_deterministic(recipe: Recipe, threads: int) -> None:
    """Make torch deterministic in this process, and set TF32 and the number of CPU threads.

    The number of threads changes the order of floating-point additions, and thereby results. A
    spec therefore contains this number.

    Args:
        recipe: recipe of the run, of which only `tf32` is used.
        threads: number of CPU threads.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Same effect as `use_deterministic_algorithms`, which also imports torch.compile's machinery.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = recipe.tf32
    torch.backends.cudnn.allow_tf32 = recipe.tf32
    torch.set_num_threads(threads)


def device_name(device: torch.device) -> str:
    """Return the name of a device, such as "cuda: NVIDIA H200" or "cpu: AVX2"."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu: {torch.backends.cpu.get_cpu_capability()}"


_RESET_PEAK_MEMORY = "5"
"""Text to write to Linux's file `/proc/self/clear_refs` to reset the peak memory of the process."""


def reset_peak_memory() -> None:
    """Reset the peak memory that `peak_memory_mb` returns, if the operating system supports this.

    Every run resets it at its start, since one process may train several runs.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK_MEMORY)


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory since the last `reset_peak_memory`, in MB (10^6 bytes).

    On a GPU this is the memory of tensors, on the CPU that of the whole process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    with suppress(OSError):
        process_status = Path("/proc/self/status").read_text()
        peak_line = next(line for line in process_status.splitlines() if line.startswith("VmHWM:"))
        return int(peak_line.split()[1]) * 1024 / 1e6
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_per_unit / 1e6


def used_gpu_fraction() -> float | None:
    """Return the largest fraction of the GPU's memory that was in use; None without a GPU.

    It includes the CUDA context and what other processes use at present.
    """
    if not torch.cuda.is_available():
        return None
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    cached_bytes = torch.cuda.memory_reserved()
    peak_bytes = torch.cuda.max_memory_reserved()
    return (total_bytes - free_bytes - cached_bytes + peak_bytes) / total_bytes


MEMORY_TEXTS = ("can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
"""Parts of messages of PyTorch and of CUDA's libraries that tell of a lack of memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception was raised because GPU or CPU memory was exhausted."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MEMORY_TEXTS)
