from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from plans import Driver, small_plan, sweep_digests

from orchestrator.home import Home
from orchestrator.sweeping.recorded import RecordedRuns, find_recorded_runs
from trainables.errors import RecordError

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan
    from trainables.run.spec import RunSpec


def files(home: Path) -> dict[str, bytes]:
    paths = (path for path in home.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in paths}


def test_the_recorded_runs_of_a_sweep_are_counted_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan()
    assert find_recorded_runs(plan, Home(tmp_path / "none")) == RecordedRuns(0, is_complete=False)
    Driver(plan, tmp_path).run(max_runs=3)
    before = files(tmp_path)
    assert find_recorded_runs(plan, Home(tmp_path)) == RecordedRuns(3, is_complete=False)
    monkeypatch.chdir(tmp_path)
    by_url = find_recorded_runs(plan, Home(tmp_path), search_url="sqlite:///optuna.db")
    assert by_url == RecordedRuns(3, is_complete=False)
    assert files(tmp_path) == before
    assert Driver(plan, tmp_path).recorded_count == 3


def test_a_sweep_is_complete_if_no_run_is_left(tmp_path: Path) -> None:
    Driver(small_plan(), tmp_path).run()
    recorded = find_recorded_runs(small_plan(), Home(tmp_path))
    assert recorded.is_complete
    assert not find_recorded_runs(small_plan(trials=5), Home(tmp_path)).is_complete
    assert not find_recorded_runs(small_plan(seeds=3), Home(tmp_path)).is_complete


def test_runs_of_cells_that_are_settled_are_counted_but_not_read(tmp_path: Path) -> None:
    plan, home = small_plan(), Home(tmp_path)
    digests = sweep_digests(Driver(plan, tmp_path).run().sweep)
    count = find_recorded_runs(plan, home).count
    cell_digests = {spec.digest for spec in cell_specs(plan, home)}
    for digest in cell_digests:
        Path(tmp_path, "runs", digest, "result.json").write_text("damaged")
    recorded = find_recorded_runs(plan, home, frozenset(digests))
    assert recorded == RecordedRuns(count, is_complete=True)
    assert recorded.sweep is not None
    assert recorded.sweep.run_phases.keys() == digests
    with pytest.raises(RecordError, match="cannot be read"):
        find_recorded_runs(plan, home, frozenset(digests - {min(cell_digests)}))


def test_a_new_seed_is_not_settled(tmp_path: Path) -> None:
    digests = sweep_digests(Driver(small_plan(), tmp_path).run().sweep)
    recorded = find_recorded_runs(small_plan(seeds=3), Home(tmp_path), frozenset(digests))
    assert not recorded.is_complete
    assert recorded.count == len(digests)


def test_all_damaged_records_are_named_at_once(tmp_path: Path) -> None:
    plan, home = small_plan(seeds=8), Home(tmp_path)
    specs = Driver(plan, tmp_path).run(max_runs=12).specs
    paths = sorted(tmp_path / "runs" / spec.digest / "result.json" for spec in specs)
    for path in paths:
        content = path.read_text()
        path.write_text(content.replace('"epoch": 2', '"epoch": 3'))
    with pytest.raises(RecordError) as raised:
        find_recorded_runs(plan, home)
    named = ", ".join(map(str, paths[:10]))
    assert str(raised.value) == (
        "the results of 12 runs cannot be read or belong to other runs: delete the folders of "
        f"these files to train the runs again: {named} and 2 more"
    )


def cell_specs(plan: Plan, home: Home) -> list[RunSpec]:
    sweep = find_recorded_runs(plan, home).sweep
    assert sweep is not None
    return [spec for cell in sweep.cells for spec in cell.seed_group.specs]


DIE_IN_A_TRANSACTION = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE unfinished (x)")
database.executemany("INSERT INTO unfinished VALUES (?)", [("x" * 1000,)] * 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_in_a_transaction_does_not_hinder_the_next(tmp_path: Path) -> None:
    plan = small_plan()
    Driver(plan, tmp_path).run(max_runs=3)
    home = Home(tmp_path)
    subprocess.run([sys.executable, "-c", DIE_IN_A_TRANSACTION, home.search_database], check=False)
    before = files(tmp_path)
    assert any(name.endswith("-journal") for name in before)
    assert find_recorded_runs(plan, home) == RecordedRuns(3, is_complete=False)
    assert files(tmp_path) == before
