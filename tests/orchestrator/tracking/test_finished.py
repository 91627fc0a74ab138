from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import make_cell, make_plan, make_result
from plans import small_plan
from stores import fresh_store

from orchestrator.tracking.finished import find_finished_sweep
from orchestrator.tracking.tracker import Tracker
from reports.read import list_sweeps
from search_spaces.schema import Phase
from trainables.run.record import Record
from trainables.run.result import Status

if TYPE_CHECKING:
    from pathlib import Path

    from reports.plan_record import PlanRecord
    from trainables.run.result import RunResult

SWEEP = "a" * 64


def record(home: Path, result: RunResult) -> None:
    folder = Record(home, result.digest).folder
    folder.mkdir(parents=True)
    Record(home, result.digest).write_result(result)


def start(uri: str, home: Path, results: list[RunResult]) -> tuple[Tracker, PlanRecord]:
    plan = make_plan([make_cell("ce")], sweep=SWEEP)
    tracker = Tracker(uri, home / "artifacts", "digits")
    tracker.start_sweep(plan, "")
    for result in results:
        tracker.record(result, Phase.SEARCH)
    return tracker, plan


@pytest.fixture
def results() -> list[RunResult]:
    specs = [small_plan().spec(Phase.SEARCH, "ce", "symmetric-0.4", {}, seed) for seed in range(3)]
    return [
        make_result(specs[0]),
        make_result(specs[1], diverged_at=2),
        make_result(specs[2], status=Status.STOPPED),
    ]


def test_runs_that_are_final_and_in_both_places_are_found(
    tmp_path: Path, results: list[RunResult]
) -> None:
    uri = fresh_store(tmp_path)
    assert find_finished_sweep(uri, SWEEP, tmp_path) is None
    for result in results[1:]:
        record(tmp_path, result)
    tracker, plan = start(uri, tmp_path, results)
    assert find_finished_sweep(uri, SWEEP, tmp_path) is None  # it is running
    tracker.finish_sweep(plan, {})
    finished = find_finished_sweep(uri, SWEEP, tmp_path)
    assert finished is not None
    assert finished.run_digests == {results[1].digest}
    assert finished.stopped_digests == {results[2].digest}
    assert find_finished_sweep(uri, "b" * 64, tmp_path) is None
    (before,) = list_sweeps(uri)
    finished.mark_started(uri)
    (after,) = list_sweeps(uri)
    assert before.started is not None
    assert after.started is not None
    assert after.started > before.started


def test_a_store_that_is_missing_is_not_created(tmp_path: Path, results: list[RunResult]) -> None:
    record(tmp_path, results[0])
    assert find_finished_sweep(f"sqlite:///{tmp_path / 'mlflow.db'}", SWEEP, tmp_path) is None
    assert not (tmp_path / "mlflow.db").exists()
