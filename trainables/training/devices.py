"""The device a run trains on, made deterministic."""

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
    """Return the CUDA device that this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_deterministic(recipe: Recipe, threads: int) -> None:
    """Bind this process to what the spec says: algorithms, threads, TF32.

    Two threads add in another order than one, so that the number of threads is part of a spec.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = recipe.tf32
    torch.backends.cudnn.allow_tf32 = recipe.tf32
    torch.set_num_threads(threads)


def device_name(device: torch.device) -> str:
    """Name the device as records do: "cuda: NVIDIA H200", "cpu: AVX2"."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu: {torch.backends.cpu.get_cpu_capability()}"


_PEAK_RESET = "5"
"""Written to Linux's `clear_refs`, sets a process's peak memory back to what it uses now."""


def reset_peak_memory() -> None:
    """Begin to measure peak memory anew, where the system can: a worker trains many runs."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_PEAK_RESET)


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory used since `reset_peak_memory`, in 10^6 bytes.

    On a GPU that of tensors; on the CPU that of the process, with all its libraries.
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
    """Tell whether an error says that memory is short, on the GPU or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
