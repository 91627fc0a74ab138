"""System metrics of runs: what is recorded, and that it changes nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import psutil
import torch
from small_runs import complete_run, digits, recipe, runnable

from trainables.run.record import Record
from trainables.training.system_metrics import SystemMonitor
from trainables.training.training_run import TrainingRun

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NAMES = {
    "epoch",
    "cpu_utilization_percentage",
    "system_memory_usage_megabytes",
    "system_memory_usage_percentage",
}


def test_metrics_of_the_machine_are_recorded_at_every_epoch_and_change_no_result(
    tmp_path: Path,
) -> None:
    spec = runnable(method="ce", recipe=recipe(epochs=2))
    plain = complete_run(spec, tmp_path / "plain", digits)
    measured = complete_run(spec, tmp_path / "measured", digits, has_system_metrics=True)
    assert plain.system_metrics == []
    assert [row["epoch"] for row in measured.system_metrics] == [1, 2]
    assert all(set(row) == NAMES for row in measured.system_metrics)
    total_mb = psutil.virtual_memory().total / 1e6
    for row in measured.system_metrics:
        assert 0 <= row["cpu_utilization_percentage"] <= 100
        ratio = row["system_memory_usage_megabytes"] / total_mb
        assert math.isclose(100 * ratio, row["system_memory_usage_percentage"])
    assert (measured.trace, measured.digest) == (plain.trace, plain.digest)
    assert Record(tmp_path / "measured", spec.digest).read_result() == measured


def test_a_continued_run_keeps_its_earlier_metrics(tmp_path: Path) -> None:
    spec = runnable(method="ce", recipe=recipe(epochs=2))
    with TrainingRun(spec, tmp_path, digits, "study", has_system_metrics=True) as run:
        run.advance()
        run.stop()
        stopped = run.result
    assert stopped is not None
    continued = complete_run(spec, tmp_path, digits)
    assert len(continued.system_metrics) == 1
    assert continued.system_metrics == stopped.system_metrics


def test_metrics_of_a_gpu_without_the_package_that_reports_its_utilisation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> float:
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6_000_000_000, 8_000_000_000))
    monkeypatch.setattr(torch.cuda, "utilization", refuse)
    row = SystemMonitor(torch.device("cuda")).end_epoch(3)
    assert row["gpu_0_memory_usage_megabytes"] == 2000
    assert row["gpu_0_memory_usage_percentage"] == 25
    assert set(row) == NAMES | {"gpu_0_memory_usage_megabytes", "gpu_0_memory_usage_percentage"}
