from __future__ import annotations

import os
import time

import pytest

from orchestrator.planning import load
from orchestrator.planning.load import LoadMeter
from trainables.cpus import CpuLimit


@pytest.mark.parametrize(
    ("cpus", "used_seconds", "free_cpus"),
    [
        ([8], [(100, 106)], 8),  # 6 s of CPU time are those of this process
        ([8], [(100, 126)], 6),  # others used 20 s in 10 s
        ([64, 2.5], [(500, 506), (10, 31)], 1),  # others in the same control group
        ([64, 2], [(500, 526), (None, None)], 62),
        ([2], [(0, 50)], 0),
    ],
)
def test_cpus_used_by_other_processes_are_not_free(
    cpus: list[float],
    used_seconds: list[tuple[float | None, float | None]],
    free_cpus: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, after = (
        [CpuLimit(count, used[instant]) for count, used in zip(cpus, used_seconds, strict=True)]
        for instant in (0, 1)
    )
    meter = LoadMeter(before, 3.0, 50.0)
    monkeypatch.setattr(load, "cpu_limits", lambda: after)
    monkeypatch.setattr(load, "_own_cpu_seconds", lambda: 9.0)
    monkeypatch.setattr(time, "monotonic", lambda: 60.0)
    assert meter.free_cpus() == pytest.approx(free_cpus)


def test_without_cpu_times_the_load_before_the_measurement_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "cpu_limits", lambda: [CpuLimit(8, None)])
    monkeypatch.setattr(load, "usable_cpu_count", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.5, 0.0, 0.0))
    meter = LoadMeter([CpuLimit(8, None)])
    monkeypatch.setattr(os, "getloadavg", lambda: (7.0, 0.0, 0.0))
    assert meter.free_cpus() == 5.5
