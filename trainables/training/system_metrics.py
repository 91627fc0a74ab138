"""System metrics of a run: how busy the machine was while each epoch was trained.

They have MLflow's names. They describe the whole machine, including its other processes, and are
no part of the result: they are recorded beside it, and only if the user asks for them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from trainables.training.job import Row


class SystemMonitor:
    """Measurement of CPUs, memory and GPU, epoch by epoch."""

    def __init__(self, device: torch.device) -> None:
        """Create the monitor of a run.

        Args:
            device: device of the training; other GPUs are not measured.
        """
        self._device = device

    def start_epoch(self) -> None:
        """Begin the time over which the next call of `end_epoch` averages the use of the CPUs."""
        psutil.cpu_percent()

    def end_epoch(self, epoch: int) -> Row:
        """Return the system metrics of an epoch, by name, and its number as "epoch".

        The use of the CPUs is the mean over the epoch; all other values are those at its end.
        Memory is in MB (10^6 bytes). On a GPU, `gpu_0` is the one of the training, and its
        utilisation and power are measured if the package `nvidia-ml-py` is installed.

        Args:
            epoch: number of the epoch, counted from 1.
        """
        memory = psutil.virtual_memory()
        row = {
            "epoch": float(epoch),
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
        }
        return row | _gpu_metrics(self._device)


def _gpu_metrics(device: torch.device) -> Row:
    """Return memory, utilisation and power of a GPU; {} for the CPU."""
    if device.type != "cuda":
        return {}
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    used_bytes = total_bytes - free_bytes
    metrics = {
        "gpu_0_memory_usage_megabytes": used_bytes / 1e6,
        "gpu_0_memory_usage_percentage": 100 * used_bytes / total_bytes,
    }
    # Errors of NVML have no common type but Exception, and must not end a training.
    with suppress(Exception):
        metrics["gpu_0_utilization_percentage"] = float(torch.cuda.utilization(device))
        metrics["gpu_0_power_usage_watts"] = torch.cuda.power_draw(device) / 1000
    return metrics
