from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from factories import cell_specs, make_cell, make_plan
from fake_runs import record_run
from stores import fresh_store

from orchestrator.commands import sweeps
from orchestrator.flags import Locations
from orchestrator.home import Home
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.home_store import update_home_store
from orchestrator.tracking.restoring import restore_store
from orchestrator.tracking.sweep_removal import mark_as_deleted, move_to_trash
from orchestrator.tracking.sweep_uses import read_sweep_uses
from orchestrator.tracking.tracker import Tracker
from search_spaces.schema import Phase
from trainables.errors import HomeError, RecordError, UserError
from trainables.run.parameters import FrozenMap
from trainables.run.record import Record

KILL_SCRIPT = """
import os, pathlib, signal, sys
from orchestrator.home import Home
from orchestrator.tracking.sweep_removal import move_to_trash
from orchestrator.tracking.sweep_uses import read_sweep_uses, select_use

home, left, rename = Home(pathlib.Path(sys.argv[1])), int(sys.argv[3]), pathlib.Path.rename

def rename_or_die(path, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return rename(path, target)

pathlib.Path.rename = rename_or_die
with home.not_in_use():
    move_to_trash(home, select_use(read_sweep_uses(home), sys.argv[2]))
"""

A, B, C = "a" * 64, "b" * 64, "c" * 64


def write_sweep(home: Home, digest: str, seeds: tuple[int, ...]) -> None:
    """Write the plan and the runs of a sweep of cross entropy with some seeds."""
    SweepArchive.of(home.path, digest).write(
        make_plan([make_cell("ce", seeds=seeds)], sweep=digest), "title: digits\n"
    )
    for spec in cell_specs("ce", "symmetric-0.4", seeds, {}):
        record_run(home.path, spec)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home folder with sweeps of seeds 0-2 and 2-3, and a run of no sweep."""
    home = Home(tmp_path / "home")
    home.create()
    write_sweep(home, A, (0, 1, 2))
    write_sweep(home, B, (2, 3))
    (alone,) = cell_specs("ce", "symmetric-0.4", (9,), {})
    record_run(home.path, alone)
    return home


def digests(*seeds: int) -> set[str]:
    return {spec.digest for spec in cell_specs("ce", "symmetric-0.4", seeds, {})}


def run_folders(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("runs/*/result.json")}


def remove(home: Home, digest: str = A, **flags: bool) -> int:
    values = {"yes": True, "dry_run": False} | flags
    return sweeps.remove(Locations(home_dir=home.path), digest, **values)


def write_needing_run(home: Home, seed: int, needed: str) -> str:
    """Write a run that needs another one."""
    (spec,) = cell_specs("ce", "symmetric-0.4", (seed,), {})
    spec = replace(spec, needs=FrozenMap({"transition": needed}))
    record_run(home.path, spec)
    return spec.digest


def test_what_a_sweep_alone_uses_moves_to_the_trash_and_back(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remove(home) == 0
    text = capsys.readouterr().out
    (trash,) = home.trash_dir.iterdir()
    assert f"rm -r {trash}" in text
    assert f"1 run: used by the sweep of digits {B[:12]}" in text
    assert run_folders(home.path) == digests(2, 3, 9)
    assert run_folders(trash) == digests(0, 1)
    assert [use.plan.sweep for use in read_sweep_uses(home)] == [B]
    undo = [line for line in text.splitlines() if line.startswith("    mv ")]
    subprocess.run(["/bin/sh", "-ec", "\n".join(undo)], check=True)
    assert {use.plan.sweep for use in read_sweep_uses(home)} == {A, B}
    assert run_folders(home.path) == digests(0, 1, 2, 3, 9)


def test_a_sweep_can_be_removed_again_after_it_was_repeated(home: Home) -> None:
    remove(home)
    write_sweep(home, A, (0, 1, 2))
    (trash,) = home.trash_dir.iterdir()
    trash.rename(trash.with_name("2000-01-01-000000-aaaaaaaaaaaa"))
    remove(home)
    assert [run_folders(folder) for folder in home.trash_dir.iterdir()] == [digests(0, 1)] * 2


def test_it_is_shown_and_confirmed_first(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    remove(home, yes=False, dry_run=True)
    assert "goes    its plan and page, 2 runs" in capsys.readouterr().out
    with pytest.raises(UserError, match="nothing was removed: add --yes"):  # no terminal
        remove(home, yes=False)
    for unknown in ("", "c"):
        with pytest.raises(HomeError, match=f"no sweep '{unknown}'"):
            remove(home, unknown)
    assert run_folders(home.path) == digests(0, 1, 2, 3, 9)
    assert not home.trash_dir.exists()


def test_runs_stay_that_train_or_another_run_uses(home: Home) -> None:
    (first,), (second,) = digests(0), digests(1)
    Record(home.path, first).mark_as_standalone()
    write_needing_run(home, 8, second)
    remove(home)
    assert digests(0, 1, 2) <= run_folders(home.path)
    assert not (home.path / "sweeps" / A).exists()


def test_runs_stay_that_runs_of_another_sweep_need(home: Home) -> None:
    (first,) = digests(0)
    needing = write_needing_run(home, 5, first)
    cell = replace(make_cell("ce", seeds=(5,)), digests=[needing])
    SweepArchive.of(home.path, C).write(make_plan([cell], sweep=C), "")
    remove(home)
    assert digests(0) <= run_folders(home.path)
    assert not digests(1) & run_folders(home.path)


@pytest.mark.parametrize(
    ("name", "content"), [("plan.json", '{"newer": 1}'), ("plan.json", None), ("study.yaml", None)]
)
def test_a_plan_that_cannot_be_read_stops_a_removal(
    home: Home, name: str, content: str | None
) -> None:
    path = home.path / "sweeps" / B / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(RecordError, match=f"{B}/{name} cannot be read"):
        remove(home)
    assert run_folders(home.path) == digests(0, 1, 2, 3, 9)


def test_a_spec_that_cannot_be_read_stops_a_removal_but_not_a_list(home: Home) -> None:
    (alone,) = digests(9)
    (Record(home.path, alone).folder / "spec.json").write_text("{")
    with pytest.raises(RecordError, match="nothing is deleted: move the folder"):
        remove(home)
    assert sweeps.list_sweeps(home, as_json=True) == 0


def test_nothing_is_removed_while_a_sweep_or_a_worker_runs(home: Home) -> None:
    (first,) = digests(0)
    with home.study_lock("another study"), pytest.raises(HomeError, match="wait until it has"):
        remove(home)
    with (
        Record(home.path, first).claimed(),
        pytest.raises(HomeError, match="is being trained by another process"),
    ):
        remove(home)
    assert run_folders(home.path) == digests(0, 1, 2, 3, 9)


def test_runs_that_something_has_begun_to_use_since_the_question_stay(home: Home) -> None:
    use = next(use for use in read_sweep_uses(home) if use.plan.sweep == A)
    write_sweep(home, C, (0,))
    with pytest.raises(HomeError, match="has changed meanwhile: nothing was removed"):
        move_to_trash(home, use)
    remove(home)
    with pytest.raises(HomeError, match="has changed meanwhile"):
        move_to_trash(home, use)
    assert run_folders(home.path) == digests(0, 2, 3, 9)


def test_digests_of_a_plan_name_nothing_outside_the_runs_of_the_home(home: Home) -> None:
    victim = home.path.parent / "victim"
    victim.mkdir()
    (victim / "spec.json").write_text("{}")
    cell = replace(
        make_cell("ce", seeds=(5, 6, 7)), digests=["../../victim", str(victim), "../sweeps"]
    )
    SweepArchive.of(home.path, C).write(make_plan([cell], sweep=C), "")
    remove(home, C)
    assert victim.exists()
    assert (home.path / "sweeps" / A).exists()


@pytest.mark.parametrize("kill_at", [1, 2])
def test_a_killed_removal_leaves_a_home_that_works(home: Home, kill_at: int) -> None:
    command = [sys.executable, "-c", KILL_SCRIPT, str(home.path), A, str(kill_at)]
    process = subprocess.run(command, check=False)
    assert process.returncode == -signal.SIGKILL
    moved = {path.name for path in home.trash_dir.glob("*/runs/*")}
    assert len(moved) == kill_at
    assert run_folders(home.path) == digests(0, 1, 2, 3, 9) - moved
    assert {use.plan.sweep for use in read_sweep_uses(home)} == {A, B}
    remove(home)
    assert run_folders(home.path) == digests(2, 3, 9)
    assert {path.name for path in home.trash_dir.glob("*/runs/*")} == digests(0, 1)


def test_files_in_the_trash_stop_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.trash_dir / "x").mkdir(parents=True)
    (home.trash_dir / ".DS_Store").write_bytes(b"x" * 10_000)
    (home.trash_dir / "removed-runs.json").write_text('["../.."]')
    remove(home)
    assert sweeps.list_sweeps(home, as_json=False) == 0
    assert f"to free them, rm -r {home.trash_dir}" in capsys.readouterr().out


def test_the_list_after_the_last_removal_is_empty(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    for digest in (A, B):
        remove(home, digest)
    capsys.readouterr()
    assert sweeps.list_sweeps(home, as_json=True) == 0
    assert capsys.readouterr().out == "[]\n"
    assert sweeps.list_sweeps(home, as_json=False) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"No sweep is recorded in {home.path}. Removed sweeps occupy ")
    assert text.endswith(f"rm -r {home.trash_dir}\n")
    assert text.count("\n") == 1
    with pytest.raises(HomeError, match="no sweep is recorded in"):
        sweeps.list_sweeps(Home(home.path / "other"), as_json=False)


def track(home: Home) -> None:
    """Write the sweeps and the single run to the store of the home folder."""
    uri = fresh_store(home.path)
    for digest, seeds in ((A, (0, 1, 2)), (B, (2, 3))):
        cell = make_cell("ce", seeds=seeds)
        plan = make_plan([cell], sweep=digest)
        tracker = Tracker(uri, home.artifact_dir, plan.study)
        tracker.start_sweep(plan, "")
        for run in plan.cells[0].digests:
            result = Record(home.path, run).read_result()
            assert result is not None
            tracker.record(result, Phase.CONFIRM, cell)
    (alone,) = digests(9)
    result = Record(home.path, alone).read_result()
    assert result is not None
    tracker.record(result, "train")


def active_runs(home: Home) -> set[tuple[str, str]]:
    """Return the sweep and the digest of each run in the store that is not deleted."""
    query = (
        "SELECT COALESCE(s.value, ''), d.value FROM runs"
        " JOIN tags d ON d.run_uuid = runs.run_uuid AND d.key = 'nal.digest'"
        " LEFT JOIN tags s ON s.run_uuid = runs.run_uuid AND s.key = 'nal.sweep'"
        " WHERE lifecycle_stage = 'active'"
    )
    with sqlite3.connect(home.path / "mlflow.db") as database:
        return set(database.execute(query).fetchall())


def test_mlflow_runs_of_the_sweep_alone_are_deleted_and_stay_deleted(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    track(home)
    assert len(active_runs(home)) == 6
    remove(home)
    expected = {("", *digests(9)), *((B, digest) for digest in digests(2, 3))}
    assert active_runs(home) == expected
    assert (
        "5 MLflow runs (those of the sweep and its cells too) marked as" in capsys.readouterr().out
    )  # 3, a cell, a sweep
    update_home_store(home)
    assert active_runs(home) == expected
    restore_store(home, f"sqlite:///{home.path}/mlflow.db")
    assert active_runs(home) == expected


@pytest.mark.slow
def test_a_removal_that_was_killed_after_mlflow_is_finished_or_undone(home: Home) -> None:
    track(home)
    (use,) = (use for use in read_sweep_uses(home) if use.plan.sweep == A)
    mark_as_deleted(f"sqlite:///{home.path}/mlflow.db", use)
    restore_store(home, f"sqlite:///{home.path}/mlflow.db")
    assert len(active_runs(home)) == 6
    remove(home)
    assert len(active_runs(home)) == 3


def test_a_store_that_cannot_be_used_is_named_and_left(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    (home.path / "mlflow.db").write_bytes(b"damaged" * 1000)
    assert remove(home) == 0
    assert "were not marked as deleted: " in capsys.readouterr().out
    assert run_folders(home.path) == digests(2, 3, 9)


def test_nothing_is_removed_from_a_home_on_two_disks(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def stat_of_two_disks(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        result = stat(path, follow_symlinks=follow_symlinks)
        if path != home.path / "runs":
            return result
        values = list(result)
        values[2] += 1  # st_dev
        return os.stat_result(values)

    folders = run_folders(home.path)
    monkeypatch.setattr(Path, "stat", stat_of_two_disks)
    with pytest.raises(HomeError, match=r"is not on the disk of .*: nothing was removed"):
        remove(home)
    assert run_folders(home.path) == folders
    assert not home.trash_dir.exists()
