"""CPUs that other processes leave free while something is measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from trainables.cpus import CpuLimit, cpu_limits, usable_cpu_count


def _own_cpu_seconds() -> float:
    """Return the CPU time of this process and of its child processes that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass(slots=True)
class LoadMeter:
    """Measurement of the CPUs that other processes use, from the creation of the object on.

    Only the CPUs that this process may use count, by its affinity and control groups.
    """

    _limits: list[CpuLimit] = field(default_factory=cpu_limits)
    _own_seconds: float = field(default_factory=_own_cpu_seconds)
    _start_time: float = field(default_factory=time.monotonic)
    _start_load: float = field(default_factory=lambda: os.getloadavg()[0])

    def free_cpus(self) -> float:
        """Return the mean number of CPUs that were left to this process and its ended children.

        Where the operating system does not tell the CPU time of processes, as on macOS, the load of
        the minute before the measurement counts.
        """
        seconds = time.monotonic() - self._start_time
        own_seconds = _own_cpu_seconds() - self._own_seconds
        free_counts = [
            before.cpus - max(0.0, after.used_seconds - before.used_seconds - own_seconds) / seconds
            for before, after in zip(self._limits, cpu_limits(), strict=False)
            if before.used_seconds is not None and after.used_seconds is not None
        ]
        if not free_counts:
            free_counts = [usable_cpu_count() - self._start_load]
        return max(0.0, min(free_counts))
