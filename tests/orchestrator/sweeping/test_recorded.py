from __future__ import annotations

from typing import TYPE_CHECKING

from plans import Driver, small_plan

from orchestrator.home import Home
from orchestrator.sweeping.recorded import recorded_run_count

if TYPE_CHECKING:
    from pathlib import Path


def files(home: Path) -> dict[str, bytes]:
    paths = (path for path in home.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in paths}


def test_the_recorded_runs_of_a_sweep_are_counted_and_nothing_is_written(tmp_path: Path) -> None:
    plan = small_plan()
    assert recorded_run_count(plan, Home(tmp_path / "none")) == 0
    Driver(plan, tmp_path).run(max_runs=3)
    before = files(tmp_path)
    assert recorded_run_count(plan, Home(tmp_path)) == 3
    assert files(tmp_path) == before
    assert Driver(plan, tmp_path).recorded_count == 3
