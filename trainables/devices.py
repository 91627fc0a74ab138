"""The device a run trains on, made deterministic."""

from __future__ import annotations

import os
import resource
import sys
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from trainables.spec import Recipe


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


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory used so far, in 10^6 bytes: of the GPU by tensors, or the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
