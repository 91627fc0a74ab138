from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from trainables.cpus import (
    CpuLimit,
    cpu_limits,
    gpu_description,
    has_bf16_instructions,
    processor_name,
    usable_cpu_count,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_only_the_cpus_of_the_affinity_are_counted() -> None:
    program = (
        "import os; from trainables.cpus import usable_cpu_count; "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(usable_cpu_count())"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert process.stdout == "1\n"


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the affinity allow 64 CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def write_files(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.usefixtures("many_cpus")
@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "50000 100000\n"}, 1),
        (  # the smallest limit on the way to the root
            {
                "proc/self/cgroup": "0::/job/step\n",
                f"{V2}/job/step/cpu.max": "800000 100000\n",
                f"{V2}/job/cpu.max": "400000 100000\n",
            },
            4,
        ),
        (  # a container that sees the path outside
            {"proc/self/cgroup": "0::/docker/1a2b\n", f"{V2}/cpu.max": "200000 100000\n"},
            2,
        ),
        (
            {
                "proc/self/cgroup": "9:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/job\n",
                f"{V1}/job/cpu.cfs_quota_us": "500000\n",
                f"{V1}/job/cpu.cfs_period_us": "100000\n",
                f"{V1}/cpu.cfs_quota_us": "-1\n",
                f"{V1}/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/docker/1a2b\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
            },
            3,
        ),
    ],
)
def test_the_quota_of_control_groups_limits_the_number(
    files: dict[str, str], count: int, tmp_path: Path
) -> None:
    write_files(tmp_path, files)
    assert usable_cpu_count(tmp_path) == count


def test_the_cpu_time_used_within_each_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    group_files = {
        f"{V2}/job/cpu.max": "150000 100000\n",
        f"{V2}/job/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        f"{V2}/cpu.max": "max 100000\n",
        "proc/self/cgroup": "0::/job\n",
    }
    # user nice system idle iowait irq softirq steal guest guest_nice
    cpu0, cpu1, cpu2 = "100 20 30 900 40 5 6 7 50 0", "9 9 9 9 9 9 9 9 9 9", "32 0 0 1 1 0 0 0 0 0"
    stat = f"cpu  1 1 1 1 1 1 1 1 1 1\ncpu0 {cpu0}\ncpu1 {cpu1}\ncpu2 {cpu2}\nintr 1 2\n"
    write_files(tmp_path, {**group_files, "proc/stat": stat})
    assert cpu_limits(tmp_path) == [CpuLimit(2, 2.0), CpuLimit(1.5, 2.5)]


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, [CpuLimit(64, None)]),
        ({"proc/stat": "cpu0 1 1 1 1 1 1 1 1 1 1\n"}, [CpuLimit(64, None)]),  # CPUs are missing
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n",
                f"{V1}/cpu.cfs_quota_us": "200000\n",
                f"{V1}/cpu.cfs_period_us": "100000\n",
                f"{V1}/cpuacct.usage": "3500000000\n",
            },
            [CpuLimit(64, None), CpuLimit(2, 3.5)],
        ),
        (
            {"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "300000 100000\n"},
            [CpuLimit(64, None), CpuLimit(3, None)],
        ),
    ],
)
@pytest.mark.usefixtures("many_cpus")
def test_cpu_times_that_the_system_does_not_tell(
    files: dict[str, str], limits: list[CpuLimit], tmp_path: Path
) -> None:
    write_files(tmp_path, files)
    assert cpu_limits(tmp_path) == limits


@pytest.mark.parametrize(
    ("cpuinfo", "has_bf16"),
    [
        ("flags\t\t: fpu avx2 fma\n", False),
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_tile amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
    ],
)
def test_the_description_of_the_processor(cpuinfo: str, tmp_path: Path, *, has_bf16: bool) -> None:
    name = "model name\t: AMD EPYC\n"
    write_files(tmp_path, {"proc/cpuinfo": f"processor\t: 0\n{name}{cpuinfo}"})
    assert has_bf16_instructions(tmp_path) == has_bf16
    assert processor_name(tmp_path) == "AMD EPYC"


def test_a_machine_that_does_not_describe_its_processor_has_no_bf16(tmp_path: Path) -> None:
    assert not has_bf16_instructions(tmp_path)


def test_the_description_of_gpus_differs_with_models_driver_and_visible_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_description(tmp_path) == ""
    folder = tmp_path / "proc/driver/nvidia"
    for index in range(2):
        (folder / f"gpus/{index}").mkdir(parents=True)
        (folder / f"gpus/{index}/information").write_text("Model: \t\t NVIDIA H100\nIRQ: 17\n")
    (folder / "version").write_text("NVRM version:  Module  570.1\nGCC version: 12\n")
    assert gpu_description(tmp_path) == (
        "NVIDIA H100, NVIDIA H100; visible: all; NVRM version: Module 570.1"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "visible: 1;" in gpu_description(tmp_path)
