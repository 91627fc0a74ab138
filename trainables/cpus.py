"""The processor of this machine, and the CPUs of it that this process may use."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUP_ROOT = Path("sys/fs/cgroup")
"""Folder of the control groups of Linux, relative to the root of the file system."""
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Names in `/proc/cpuinfo` of the instructions that compute in bf16: two of x86, one of ARM."""


def usable_cpu_count(root: Path = Path("/")) -> int:
    """Return the number of CPUs that this process may use, at least 1.

    The number is limited by the CPU affinity, which batch systems such as Slurm and `taskset` set,
    and by the quota of the process's control groups (cgroups, version 1 or 2), which containers
    set. A quota that is not a whole number is rounded down.

    Args:
        root: folder in which the files of the operating system, `proc` and `sys`, are looked up.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:  # macOS
        count = os.cpu_count() or 1
    return max(1, min([count, *map(int, _iter_cgroup_quotas(root))]))


def processor_name(root: Path = Path("/")) -> str:
    """Return the name of the processor, such as "AMD EPYC".

    Args:
        root: folder in which the files of the operating system are looked up.
    """
    return _read_cpuinfo(root).get("model name") or platform.processor() or platform.machine()


def has_bf16_instructions(root: Path = Path("/")) -> bool:
    """Return whether the processor computes in bf16, instead of PyTorch emulating this in software.

    x86 processors need AVX512-BF16 or AMX, ARM processors the extension BF16. Without `/proc`, as
    on macOS, the answer is False.

    Args:
        root: folder in which the files of the operating system are looked up.
    """
    cpuinfo = _read_cpuinfo(root)
    flags = f"{cpuinfo.get('flags', '')} {cpuinfo.get('Features', '')}".split()
    return not BF16_FLAGS.isdisjoint(flags)


def _read_cpuinfo(root: Path) -> dict[str, str]:
    """Return the description of the last CPU in `/proc/cpuinfo`; empty if there is no such file."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _iter_cgroup_quotas(root: Path) -> Iterator[float]:
    """Yield the quota, in CPUs, of every control group that contains this process and has one.

    In a container, the paths in `/proc/self/cgroup` may be those outside the container, whose
    folders do not exist inside; the limits of the container are then at the root of the hierarchy.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for membership in memberships:
        _, controllers, group_path = membership.split(":", 2)
        if not controllers:  # version 2
            hierarchy, read_quota = root / CGROUP_ROOT, _read_quota_v2
        elif "cpu" in controllers.split(","):
            hierarchy, read_quota = root / CGROUP_ROOT / controllers, _read_quota_v1
            if not hierarchy.is_dir():
                hierarchy = root / CGROUP_ROOT / "cpu"
        else:
            continue
        group = hierarchy / group_path.lstrip("/")
        for folder in (group, *group.parents):
            try:
                quota = read_quota(folder)
            except (OSError, ValueError):
                quota = None
            if quota is not None:
                yield quota
            if folder == hierarchy:
                break


def _read_quota_v2(folder: Path) -> float | None:
    """Return the quota of a control group of version 2, in CPUs; None if it has none."""
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _read_quota_v1(folder: Path) -> float | None:
    """Return the quota of a control group of version 1, in CPUs; None if it has none."""
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota < 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
