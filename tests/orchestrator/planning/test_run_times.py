from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import record_run
from plans import random_data, small_plan

from orchestrator.planning.run_times import time_ratio
from search_spaces.schema import Phase
from trainables.run.provenance import package_versions
from trainables.training.cost import Cost

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec

COST = Cost(0.01, 0.001, 1000, 4.0, "cpu: a test")
HERE = {"device": COST.device, "host": platform.node(), "torch": package_versions()["torch"]}


def spec_of(seed: int = 0, **flags: Any) -> RunSpec:
    return small_plan(**flags).spec(Phase.CONFIRM, "ce", "symmetric-0.4", {}, seed)


def record(home: Path, spec: RunSpec, seconds: float, **provenance: str) -> None:
    """Record a run of 6 epochs, for which `COST` predicts 6 * (3 * 0.01 + 70 * 0.001) = 0.6 s."""
    record_run(home, spec, seconds=[seconds / 6] * 6, provenance={**HERE, **provenance})


def ratio(home: Path) -> float:
    return time_ratio(COST, spec_of(), random_data(), home)


def test_without_recorded_runs_a_cost_is_unchanged(tmp_path: Path) -> None:
    assert ratio(tmp_path) == 1


def test_the_ratio_is_the_median_over_similar_runs(tmp_path: Path) -> None:
    for seed, seconds in enumerate((1.2, 1.5, 60.0)):
        record(tmp_path, spec_of(seed), seconds)
    assert ratio(tmp_path) == pytest.approx(2.5)


@pytest.mark.parametrize(
    "other", [{"device": "cuda: a test"}, {"host": "elsewhere"}, {"torch": "1.0"}]
)
def test_runs_under_other_conditions_are_left_out(other: dict[str, str], tmp_path: Path) -> None:
    record(tmp_path, spec_of(), 6.0, **other)
    assert ratio(tmp_path) == 1


@pytest.mark.parametrize("change", ["backbone.hidden=[32]", "recipe.batch_size=64"])
def test_runs_whose_steps_cost_another_time_are_left_out(change: str, tmp_path: Path) -> None:
    record(tmp_path, spec_of(sets=(change,)), 6.0)
    assert ratio(tmp_path) == 1


def test_the_latest_runs_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.planning.run_times.MAX_COMPARED_RUNS", 1)
    for seed, seconds in enumerate((6.0, 1.2, 3.0)):
        record(tmp_path, spec_of(seed), seconds)
        path = tmp_path / "runs" / spec_of(seed).digest / "result.json"
        os.utime(path, (0, {6.0: 10, 1.2: 30, 3.0: 20}[seconds]))
    assert ratio(tmp_path) == pytest.approx(2)


def test_a_damaged_record_is_passed_over(tmp_path: Path) -> None:
    record(tmp_path, spec_of(), 1.2)
    folder = tmp_path / "runs" / ("0" * 64)
    folder.mkdir()
    (folder / "result.json").write_text("{")
    assert ratio(tmp_path) == pytest.approx(2)
