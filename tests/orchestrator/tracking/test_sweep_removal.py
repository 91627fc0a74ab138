from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan
from fake_runs import record_run
from stores import fresh_store

from orchestrator.commands import sweeps
from orchestrator.home import Home, StudyLockedError
from orchestrator.tracking import sweep_removal
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.sweep_removal import finish_removals, read_sweep_uses, remove_sweep
from orchestrator.tracking.tracker import Tracker
from reports.store import open_store
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
    with home.study_lock("digits"):
        pass
    return home


def run_folders(home: Home) -> set[str]:
    return {path.parent.name for path in home.path.glob("runs/*/result.json")}


def digests(*seeds: int) -> set[str]:
    return {spec.digest for spec in cell_specs("ce", "symmetric-0.4", seeds, {})}


def fake_gc(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace `mlflow gc`, which takes seconds to start, and return the list of its calls."""
    commands: list[list[str]] = []

    class Ended:
        returncode = 0

    def run(command: list[str], **_: object) -> Ended:
        commands.append(command)
        return Ended()

    monkeypatch.setattr("orchestrator.tracking.sweep_removal.subprocess.run", run)
    return commands


def test_only_what_a_sweep_alone_uses_is_removed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = {use.plan.sweep: use for use in read_sweep_uses(home)}
    assert uses[A].digests == digests(0, 1)
    assert uses[A].own_digests == digests(0)
    commands = fake_gc(monkeypatch)
    assert remove_sweep(home, A) > 0
    assert run_folders(home) == digests(1, 2, 9)
    assert [use.plan.sweep for use in read_sweep_uses(home)] == [B]
    assert not (home.path / "trash").exists()
    client = open_store(f"sqlite:///{home.path}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "digits")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags.get("nal.sweep") for run in runs} == {B, None}
    # sweep, cell and two runs of A
    assert [len(command[-1].split(",")) for command in commands] == [4]


def test_a_removal_that_was_killed_is_finished(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gc(monkeypatch)
    monkeypatch.setattr(sweep_removal, "_remove_from_mlflow", kill)
    with pytest.raises(KeyboardInterrupt):
        remove_sweep(home, A)
    assert run_folders(home) == digests(0, 1, 2, 9)
    monkeypatch.undo()
    fake_gc(monkeypatch)
    finish_removals(home)
    assert run_folders(home) == digests(1, 2, 9)
    assert not (home.path / "trash").exists()


def kill(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_sweep_that_was_started_anew_keeps_its_runs(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gc(monkeypatch)
    plan = read_sweep_uses(home)[0].plan
    monkeypatch.setattr(sweep_removal, "finish_removals", kill)
    with pytest.raises(KeyboardInterrupt):
        remove_sweep(home, A)
    SweepArchive.of(home.path, A).write(plan, "")
    monkeypatch.undo()
    finish_removals(home)
    assert run_folders(home) == digests(0, 1, 2, 9)


def test_nothing_is_removed_while_a_sweep_runs(home: Home) -> None:
    with home.study_lock("digits"), pytest.raises(StudyLockedError, match="already running"):
        remove_sweep(home, A)
    assert run_folders(home) == digests(0, 1, 2, 9)


def test_files_of_another_home_are_not_deleted(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gc(monkeypatch)
    monkeypatch.setattr(Home, "artifact_dir", tmp_path / "elsewhere")
    with pytest.raises(HomeError, match="outside this home folder"):
        remove_sweep(home, A)
    assert run_folders(home) == digests(0, 1, 2, 9)


def test_commands(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gc(monkeypatch)
    sweeps.list_sweeps(home, as_json=True)
    rows = {row["sweep"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows[A]["runs"] == 2
    assert 0 < rows[A]["own_bytes"] < rows[A]["bytes"]
    sweeps.show(home, "a", as_json=True)
    values = json.loads(capsys.readouterr().out)
    assert (values["phases"], values["shared_runs"]) == ({"confirm": {"finished": 2}}, 1)
    with pytest.raises(HomeError, match="no sweep 'c': choose one of these digests: digits"):
        sweeps.show(home, "c", as_json=False)
    sweeps.remove(home, "a", yes=True)
    assert "Removed sweep aaaaaaaaaaaa of 'digits' with 1 run" in capsys.readouterr().out
