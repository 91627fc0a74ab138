from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fake_runs import record_run
from plans import Driver, random_data, small_study

from orchestrator.home import Home
from orchestrator.planning.plan import Plan
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.cleaning import Cleaning, delete_unused_checkpoints
from orchestrator.tracking.recording import plan_record
from trainables.run.record import Record
from trainables.run.result import Status

if TYPE_CHECKING:
    from pathlib import Path

    from reports.plan_record import PlanRecord


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return an empty home folder."""
    home = Home(tmp_path)
    home.create()
    return home


def sweep(home: Home, max_runs: int | None = None) -> PlanRecord:
    """Carry out a sweep with fake runs that have checkpoints, and return its plan."""
    loaded = small_study()
    driver = Driver(Plan("small", loaded.study, random_data()), home.path).run(max_runs)
    plan = plan_record(driver.sweep, loaded)
    SweepArchive.of(home.path, plan.sweep).write(plan, "")
    for digest in plan.digests:
        Record(home.path, digest).checkpoint_path.write_bytes(b"x" * 50_000)
    return plan


def with_checkpoint(home: Home) -> set[str]:
    return {path.parent.name for path in home.path.glob("runs/*/checkpoint.pt")}


def test_only_the_checkpoints_of_the_table_stay(home: Home) -> None:
    plan = sweep(home)
    in_table = {digest for cell in plan.cells for digest in cell.digests}
    cleaning = delete_unused_checkpoints(home, plan.sweep)
    assert with_checkpoint(home) == in_table
    assert cleaning.deleted_count == len(plan.digests - in_table)
    assert cleaning.freed_bytes >= 50_000 * cleaning.deleted_count
    assert cleaning.left_count == 0
    assert all(Record(home.path, digest).read_result() for digest in plan.digests)
    assert delete_unused_checkpoints(home, plan.sweep) == Cleaning()
    # Nothing is left to train, and a removed record is trained again.
    again = Driver(Plan("small", small_study().study, random_data()), home.path)
    assert again.sweep.done


def test_the_checkpoint_of_a_run_that_was_stopped_early_stays(home: Home) -> None:
    plan = sweep(home)
    digest = plan.searches[0].digests[0]
    spec = Record(home.path, digest).read_spec()
    assert spec is not None
    record_run(home.path, spec, status=Status.STOPPED)
    cleaning = delete_unused_checkpoints(home, plan.sweep)
    assert digest in with_checkpoint(home)
    assert cleaning.left_count == 1


def test_an_unfinished_sweep_keeps_its_checkpoints(home: Home) -> None:
    plan = sweep(home, max_runs=5)
    assert delete_unused_checkpoints(home, plan.sweep).deleted_count == 0
    assert with_checkpoint(home) == plan.digests


def test_checkpoints_stay_that_others_use(home: Home) -> None:
    plan = sweep(home)
    used, *others = plan.searches[0].digests
    Record(home.path, used).mark_as_standalone()
    outcome, *others = others
    (Record(home.path, outcome).folder / "predictions.npy").write_bytes(b"")
    assert delete_unused_checkpoints(home, plan.sweep).left_count == 2
    assert {used, outcome} <= with_checkpoint(home)
    assert not set(others) & with_checkpoint(home) - {
        digest for cell in plan.cells for digest in cell.digests
    }


def test_a_run_without_checkpoint_is_trained_again_if_another_needs_it(home: Home) -> None:
    plan = sweep(home)
    record = Record(home.path, plan.searches[0].digests[0])
    record.discard_if_cleaned()
    assert record.read_result() is not None
    delete_unused_checkpoints(home, plan.sweep)
    assert record.is_cleaned
    record.discard_if_cleaned()
    assert record.read_result() is None
    spec = record.read_spec()
    assert spec is not None
    record_run(home.path, spec)
    record.checkpoint_path.write_bytes(b"x")
    assert not record.is_cleaned
