"""The CPUs that this process may use, which may be fewer than the machine has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUP_ROOT = Path("sys/fs/cgroup")
"""Folder of the control groups of Linux, relative to the root of the file system."""


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
