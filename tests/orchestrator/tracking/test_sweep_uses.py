from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan
from fake_runs import record_run
from stores import fresh_store

from orchestrator.commands import sweeps
from orchestrator.home import Home
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.sweep_uses import read_sweep_uses
from orchestrator.tracking.tracker import Tracker
from search_spaces.schema import Phase
from trainables.errors import HomeError

if TYPE_CHECKING:
    from pathlib import Path

A, B = "a" * 64, "b" * 64


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with two sweeps of seeds 0-1 and 1-2, a run of `train` and MLflow's store."""
    home = Home(tmp_path)
    home.create()
    uri = fresh_store(tmp_path)
    for digest, seeds in ((A, (0, 1)), (B, (1, 2))):
        cell = make_cell("ce", seeds=seeds)
        plan = make_plan([cell], sweep=digest)
        SweepArchive.of(tmp_path, digest).write(plan, "title: digits\n")
        tracker = Tracker(uri, home.artifact_dir, plan.study)
        tracker.start_sweep(plan, "")
        for spec in cell_specs("ce", "symmetric-0.4", seeds, {}):
            tracker.record(record_run(tmp_path, spec), Phase.CONFIRM, cell)
    (alone,) = cell_specs("ce", "symmetric-0.4", (9,), {})
    tracker.record(record_run(tmp_path, alone), "train")
    return home


def digests(*seeds: int) -> set[str]:
    return {spec.digest for spec in cell_specs("ce", "symmetric-0.4", seeds, {})}


def test_runs_that_two_sweeps_use_are_no_sweeps_own(home: Home) -> None:
    uses = {use.plan.sweep: use for use in read_sweep_uses(home)}
    assert uses[A].digests == digests(0, 1)
    assert uses[A].own_digests == digests(0)
    assert uses[B].own_digests == digests(2)


def test_commands(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    sweeps.list_sweeps(home, as_json=True)
    rows = {row["sweep"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows[A]["runs"] == 2
    assert 0 < rows[A]["own_bytes"] < rows[A]["bytes"]
    sweeps.show(home, "a", as_json=True)
    values = json.loads(capsys.readouterr().out)
    assert (values["phases"], values["shared_runs"]) == ({"confirm": {"finished": 2}}, 1)
    with pytest.raises(HomeError, match="no sweep 'c': choose one of these digests: digits"):
        sweeps.show(home, "c", as_json=False)
    with pytest.raises(HomeError, match="no sweep '': choose one of these digests"):
        sweeps.show(home, "", as_json=False)


def test_a_sweep_that_no_process_carries_out_is_interrupted(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    def states() -> set[tuple[str, str]]:
        sweeps.list_sweeps(home, as_json=True)
        return {(row["sweep"], row["state"]) for row in json.loads(capsys.readouterr().out)}

    for digest in (A, B):
        archive = SweepArchive.of(home.path, digest)
        archive.write_plan(replace(archive.read_plan_and_study()[0], state="running"))
    assert states() == {(A, "interrupted"), (B, "interrupted")}
    study = SweepArchive.of(home.path, B).read_plan_and_study()[0].study
    with home.study_lock(study):
        assert states() == {(A, "interrupted"), (B, "running")}
