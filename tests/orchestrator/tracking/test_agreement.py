from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan
from fake_runs import record_run

from orchestrator.home import Home
from orchestrator.tracking.agreement import Lacking, find_lacking
from orchestrator.tracking.archive import SweepArchive
from reports.plan_record import StoppedTrialRecord, TuningRecord
from trainables.errors import HomeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from reports.plan_record import PlanRecord

CELL = make_cell("ce", seeds=(0, 1))
PLAN = make_plan([CELL], state="finished")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home folder with a sweep of two recorded runs, without a store."""
    for spec in cell_specs("ce", "symmetric-0.4", (0, 1), {}):
        record_run(tmp_path, spec)
    SweepArchive.of(tmp_path, PLAN.sweep).write(PLAN, "")
    return Home(tmp_path)


def store(
    home: Home, digests: Iterable[str], stopped: Iterable[str] = (), plan: PlanRecord = PLAN
) -> None:
    """Write what is read of a store: the sweep with its plan, and some of its runs.

    Args:
        home: home folder.
        digests: digests of the runs.
        stopped: digests of those that were stopped early.
        plan: plan of the sweep.
    """
    artifacts = home.path / "artifacts" / "sweep"
    artifacts.mkdir(parents=True)
    (artifacts / "plan.json").write_text(plan.to_json())
    tags = {"sweep": {"nal.kind": "sweep", "nal.sweep": PLAN.sweep}}
    for digest in digests:
        tags[digest] = {
            "nal.kind": "run",
            "nal.sweep": PLAN.sweep,
            "nal.digest": digest,
            "nal.status": "stopped" if digest in stopped else "finished",
        }
    with closing(sqlite3.connect(home.path / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE runs (run_uuid, status, artifact_uri, lifecycle_stage)")
        database.execute("CREATE TABLE tags (run_uuid, key, value)")
        for run, values in tags.items():
            row = (run, "FINISHED", artifacts.as_uri(), "active")
            database.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", row)
            rows = [(run, key, value) for key, value in values.items()]
            database.executemany("INSERT INTO tags VALUES (?, ?, ?)", rows)


def test_a_store_with_everything_lacks_nothing(home: Home) -> None:
    store(home, CELL.digests)
    before = (home.path / "mlflow.db").read_bytes()
    assert find_lacking(home) == Lacking((), 0, 0)
    assert (home.path / "mlflow.db").read_bytes() == before


def test_a_run_that_the_store_lacks(home: Home) -> None:
    store(home, CELL.digests[:1])
    label = f"digits {PLAN.sweep[:12]}"
    assert find_lacking(home) == Lacking((label,), 1, 0)
    with home.study_lock("digits"):  # the process writes it
        assert find_lacking(home) == Lacking((), 0, 0)


def test_a_run_that_another_sweep_has_continued_since_it_was_stopped(home: Home) -> None:
    label = f"digits {PLAN.sweep[:12]}"
    search = TuningRecord("nal", "NAL", "clean", [], {}, 2, CELL.digests)
    stopped = replace(search, stopped=[StoppedTrialRecord(0, 1, 2)])
    for each, lacking in ((stopped, Lacking((), 0, 0)), (search, Lacking((label,), 1, 0))):
        plan = make_plan(searches=[each], state="finished")
        SweepArchive.of(home.path, plan.sweep).write(plan, "")
        store(home, CELL.digests, CELL.digests[:1], plan)
        assert find_lacking(home) == lacking
        (home.path / "mlflow.db").unlink()
        shutil.rmtree(home.path / "artifacts")


def test_a_run_that_has_no_record(home: Home) -> None:
    store(home, [*CELL.digests, "ab" * 32])
    assert find_lacking(home) == Lacking((), 0, 1)


def test_without_a_store(home: Home) -> None:
    assert find_lacking(home) is None
    assert not (home.path / "mlflow.db").exists()


def test_a_damaged_store_is_named(home: Home) -> None:
    (home.path / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(HomeError, match=r"cannot be read .*sync"):
        find_lacking(home)
