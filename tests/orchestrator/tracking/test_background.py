from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from factories import cell_specs, make_cell, make_plan, make_result
from stores import fresh_store

from orchestrator.tracking import background
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.tracker import Tracker
from reports.read import read_sweep
from reports.store import open_store
from search_spaces.schema import Phase
from trainables.errors import HomeError, ServiceError

if TYPE_CHECKING:
    from pathlib import Path


def sweep_status(uri: str) -> str:
    client = open_store(uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (sweep,) = client.search_runs([experiment.experiment_id], "tags.`nal.kind` = 'sweep'")
    return str(sweep.info.status)


def test_all_operations_are_executed_in_order(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    cell = make_cell(seeds=(0, 1))
    plan = make_plan([cell])
    with BackgroundTracker(uri, tmp_path / "artifacts", "digits") as writer:
        writer.start_sweep(plan, "title: digits\n")
        for spec in cell_specs("nal", "symmetric-0.4", (0, 1), cell.values):
            writer.record(make_result(spec), Phase.CONFIRM, cell)
        writer.flush()
        assert {run.digest for run in read_sweep(uri)[1]} == set(cell.digests)
        writer.update_plan(plan)
        writer.finish_sweep(plan, {"table.md": "x"})
    assert sweep_status(uri) == "FINISHED"


def test_an_interrupted_sweep_is_marked_as_killed(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    with BackgroundTracker(uri, tmp_path / "artifacts", "digits") as writer:
        writer.start_sweep(make_plan([make_cell()], state="running"), "")
        writer.mark_interrupted()
    assert sweep_status(uri) == "KILLED"


def test_an_error_in_the_thread_is_raised_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_disk_full(*_: Any) -> None:
        raise HomeError("no space left")

    monkeypatch.setattr(Tracker, "start_sweep", raise_disk_full)
    writer = BackgroundTracker(fresh_store(tmp_path), tmp_path, "digits")
    writer.start_sweep(make_plan(), "")
    with pytest.raises(HomeError, match="no space left"):
        writer.flush()
    with pytest.raises(HomeError, match="no space left"):
        writer.record(make_result(), "train")
    with pytest.raises(HomeError, match="no space left"), writer:
        pass


def test_an_error_of_the_driver_takes_precedence_over_one_of_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_disk_full(*_: Any) -> None:
        raise HomeError("no space left")

    monkeypatch.setattr(Tracker, "start_sweep", raise_disk_full)
    writer = BackgroundTracker(fresh_store(tmp_path), tmp_path, "digits")
    writer.start_sweep(make_plan(), "")
    with pytest.raises(ZeroDivisionError), writer:
        raise ZeroDivisionError


def test_calls_do_not_wait_for_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()

    class SlowTracker:
        def __init__(self, *_: object) -> None:
            opened.wait()

        def record(self, *_: object) -> None:
            written.append(1)

    written: list[int] = []
    monkeypatch.setattr(background, "Tracker", SlowTracker)
    with BackgroundTracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, "digits") as writer:
        writer.record(make_result(), "train")
        writer.record(make_result(), "train")
        assert written == []
        opened.set()
    assert written == [1, 1]


def test_an_unreachable_server_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        BackgroundTracker("http://127.0.0.1:1", tmp_path, "digits")


def test_the_driver_does_not_import_mlflow_or_torch_before_it_writes() -> None:
    code = (
        "import orchestrator.tracking.background, sys; "
        "sys.exit(any(name in sys.modules for name in ('mlflow', 'torch', 'ray')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
