"""Processor and GPUs of this machine, and the CPUs of it that this process may use."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

CGROUP_ROOT = Path("sys/fs/cgroup")
"""Folder of the control groups of Linux, relative to the root of the file system."""
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Names in `/proc/cpuinfo` of the instructions that compute in bf16: two of x86, one of ARM."""


@dataclass(frozen=True, slots=True)
class CpuLimit:
    """A limit of the CPUs that this process may use: its affinity, or a control group's quota.

    Attributes:
        cpus: number of CPUs; a fraction if a quota is one.
        used_seconds: CPU time that all processes have used so far on the CPUs of the affinity or
            in the control group, in seconds; None if the operating system does not say.
    """

    cpus: float
    used_seconds: float | None


def usable_cpu_count(root: Path = Path("/")) -> int:
    """Return the number of CPUs that this process may use, at least 1.

    The number is limited by the CPU affinity, which batch systems such as Slurm and `taskset` set,
    and by the quota of the process's control groups (cgroups, version 1 or 2), which containers
    set. A quota that is not a whole number is rounded down.

    Args:
        root: folder in which the files of the operating system, `proc` and `sys`, are looked up.
    """
    return max(1, min(int(limit.cpus) for limit in cpu_limits(root)))


def cpu_limits(root: Path = Path("/")) -> list[CpuLimit]:
    """Return the limits of the CPUs that this process may use: affinity, then control groups.

    Args:
        root: folder in which the files of the operating system are looked up.
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
    else:  # macOS
        cpus = set(range(os.cpu_count() or 1))
    return [CpuLimit(len(cpus), _read_used_seconds(cpus, root)), *_iter_cgroup_limits(root)]


def processor_name(root: Path = Path("/")) -> str:
    """Return the name of the processor, such as "AMD EPYC".

    Args:
        root: folder in which the files of the operating system are looked up.
    """
    return _read_cpuinfo(root).get("model name") or platform.processor() or platform.machine()


def gpu_description(root: Path = Path("/")) -> str:
    """Return a text that differs between machines with other NVIDIA GPUs, drivers or visible GPUs.

    The text is empty without NVIDIA's driver. PyTorch, which takes seconds to import, is not used.

    Args:
        root: folder in which the files of the operating system are looked up.
    """
    folder = root / "proc/driver/nvidia"
    try:
        driver = (folder / "version").read_text().partition("\n")[0]
        models = [
            line.split(":")[1].strip()
            for path in sorted(folder.glob("gpus/*/information"))
            for line in path.read_text().splitlines()
            if line.startswith("Model:")
        ]
    except OSError:
        return ""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return f"{', '.join(models)}; visible: {visible}; {' '.join(driver.split())}"


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


def _read_used_seconds(cpus: Collection[int], root: Path) -> float | None:
    """Return the CPU time that all processes have used on some CPUs; None if it is unknown."""
    try:
        lines = (root / "proc/stat").read_text().splitlines()
        ticks_per_second = os.sysconf("SC_CLK_TCK")
    except OSError:
        return None
    names = {f"cpu{cpu}" for cpu in cpus}
    rows = [line.split() for line in lines]
    # user, nice, system, idle, iowait, irq, softirq and steal, of which two are not use
    ticks = [
        sum(map(int, row[1:4])) + sum(map(int, row[6:9])) for row in rows if row and row[0] in names
    ]
    return sum(ticks) / ticks_per_second if len(ticks) == len(names) else None


def _iter_cgroup_limits(root: Path) -> Iterator[CpuLimit]:
    """Yield the quota of every control group that contains this process and has a quota.

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
            hierarchy, read_limit = root / CGROUP_ROOT, _read_limit_v2
        elif "cpu" in controllers.split(","):
            hierarchy, read_limit = root / CGROUP_ROOT / controllers, _read_limit_v1
            if not hierarchy.is_dir():
                hierarchy = root / CGROUP_ROOT / "cpu"
        else:
            continue
        group = hierarchy / group_path.lstrip("/")
        for folder in (group, *group.parents):
            try:
                limit = read_limit(folder)
            except (OSError, ValueError):
                limit = None
            if limit is not None:
                yield limit
            if folder == hierarchy:
                break


def _read_limit_v2(folder: Path) -> CpuLimit | None:
    """Return the quota of a control group of version 2; None if it has none."""
    quota, period = (folder / "cpu.max").read_text().split()
    if quota == "max":
        return None
    try:
        values = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        used_seconds = int(values["usage_usec"]) / 1e6
    except (OSError, KeyError):
        used_seconds = None
    return CpuLimit(int(quota) / int(period), used_seconds)


def _read_limit_v1(folder: Path) -> CpuLimit | None:
    """Return the quota of a control group of version 1; None if it has none."""
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    if quota < 0:
        return None
    try:
        used_seconds = int((folder / "cpuacct.usage").read_text()) / 1e9
    except OSError:  # the controllers `cpu` and `cpuacct` have folders of their own
        used_seconds = None
    return CpuLimit(quota / int((folder / "cpu.cfs_period_us").read_text()), used_seconds)
