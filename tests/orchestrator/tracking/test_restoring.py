from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from command_line import call_command
from stored_sweeps import FakeSweep, content, runs_of, spoil
from stores import fresh_store

from orchestrator.home import Home
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.finished import find_finished_sweep
from reports.read import list_sweeps, read_sweep
from reports.store import home_store_uri, open_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sweep(tmp_path: Path) -> FakeSweep:
    """A finished sweep in the store of its home folder."""
    fresh_store(tmp_path)
    sweep = FakeSweep(tmp_path, "small")
    sweep.carry_out(home_store_uri(tmp_path))
    return sweep


def test_a_sweep_with_a_doubled_run_is_not_finished(sweep: FakeSweep, tmp_path: Path) -> None:
    uri = home_store_uri(tmp_path)
    run = next(run for run in runs_of(uri, "small") if run.data.tags["nal.kind"] == "run")
    client = open_store(uri)
    client.create_run(run.info.experiment_id, tags=run.data.tags)
    assert find_finished_sweep(uri, sweep.plan.digest, tmp_path) is None
    sweep.carry_out(uri)
    finished = find_finished_sweep(uri, sweep.plan.digest, tmp_path)
    assert finished is not None
    assert run.data.tags["nal.digest"] in finished.run_digests


def test_sync_of_an_unfinished_sweep_leaves_the_one_that_another_home_has_finished(
    sweep: FakeSweep, tmp_path: Path
) -> None:
    uri = home_store_uri(tmp_path)
    clean, plan = content(uri, "small"), read_sweep(uri, sweep.plan.digest)[0]
    other = Home(tmp_path / "other")
    other.create()
    archive = SweepArchive.of(tmp_path, plan.sweep)
    _, study_yaml = archive.read_plan_and_study()
    unfinished = replace(plan, cells=[], state="running")
    SweepArchive.of(other.path, plan.sweep).write(unfinished, study_yaml)
    trial = plan.searches[0].digests[0]
    shutil.copytree(tmp_path / "runs" / trial, other.path / "runs" / trial)
    client = open_store(uri)
    (stored,) = (run for run in runs_of(uri, "small") if run.data.tags.get("nal.digest") == trial)
    client.delete_run(stored.info.run_id)
    synced = call_command("sync", "--home", other.path, "--tracking-uri", uri)
    assert synced.stdout == f"{uri} contains 1 run of sweeps and 0 other runs.\n"
    assert content(uri, "small") == clean
    assert read_sweep(uri, sweep.plan.digest)[0] == plan

    more = replace(plan.searches[0], digests=[*plan.searches[0].digests, "f" * 64])
    ahead = replace(unfinished, searches=[more])
    SweepArchive.of(other.path, plan.sweep).write_plan(ahead)
    call_command("sync", "--home", other.path, "--tracking-uri", uri)
    assert read_sweep(uri, sweep.plan.digest)[0] == ahead
    (stored,) = (run for run in runs_of(uri, "small") if run.data.tags["nal.kind"] == "sweep")
    assert stored.info.status == "KILLED"


def test_sync_repairs_every_state_of_a_store(sweep: FakeSweep, tmp_path: Path) -> None:
    uri = home_store_uri(tmp_path)
    clean = content(uri, "small")
    assert find_finished_sweep(uri, sweep.plan.digest, tmp_path) is not None
    archive = SweepArchive.of(tmp_path, sweep.plan.digest)
    archive.mark_unwritten(uri, 1)
    spoil(uri, "small")
    assert len(runs_of(uri, "small")) == len(clean) + 5
    assert content(uri, "small") != clean
    plan, runs = read_sweep(uri, sweep.plan.digest)  # a report reads a store with doubles
    assert len(runs) == len(plan.digests) - 3
    assert len({run.digest for run in runs}) == len(runs)
    assert [listed.digest for listed in list_sweeps(uri)] == [sweep.plan.digest]
    for _ in range(2):
        synced = call_command("sync", "--home", tmp_path)
        assert synced.returncode == 0, synced.stderr
        assert content(uri, "small") == clean
        assert archive.read_unwritten() is None
        assert find_finished_sweep(uri, sweep.plan.digest, tmp_path) is not None
    assert len(read_sweep(uri, sweep.plan.digest)[1]) == len(plan.digests)
