"""The command `sweep` in this process, with fake records instead of runs."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from plans import STUDY, Driver, small_plan
from rich.console import Console

from orchestrator.commands import sweep
from orchestrator.flags import Locations, StudyFlags
from orchestrator.home import Home
from orchestrator.output import CommandConsole
from orchestrator.planning import cost as costs
from orchestrator.planning.loading import SYSTEM_METRICS_VARIABLE, load_plan
from orchestrator.tracking.cleaning import Cleaning
from trainables.errors import HomeError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.planning.cost import MachineCost


class MeasurementError(Exception):
    """A cost was to be measured."""


def test_neither_a_finished_sweep_nor_one_on_a_full_disk_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out_costs: list[MachineCost | None] = []

    def fail(*_: Any, **__: Any) -> None:
        raise MeasurementError

    def carry_out(*arguments: Any, **_: Any) -> list[str]:
        carried_out_costs.append(arguments[3].cost)
        return []

    monkeypatch.setattr(costs, "measure_machine_cost", fail)
    monkeypatch.setattr(sweep, "_carry_out", carry_out)
    monkeypatch.setattr(sweep, "update_home_store", lambda _home: None)
    study = tmp_path / "small.yaml"
    study.write_text(STUDY)
    flags = StudyFlags(study=str(study))
    locations = Locations(home_dir=tmp_path / "home", engine="inline")
    plan = load_plan(flags, locations, Console(quiet=True), may_write=True).plan
    driver = Driver(plan, locations.home_dir).run(max_runs=1)
    with pytest.raises(MeasurementError):
        sweep.run(flags, locations, yes=False, as_json=False, dry_run=False)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10**6))
        with pytest.raises(HomeError, match=r"the disk has 0\.0 GB free"):
            sweep.run(flags, locations, yes=False, as_json=False, dry_run=False)
    driver.run()
    assert sweep.run(flags, locations, yes=False, as_json=False, dry_run=False) == 0
    assert carried_out_costs == [None]


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_invalid_variable_of_mlflow_is_refused_before_anything_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool
) -> None:
    monkeypatch.setenv(SYSTEM_METRICS_VARIABLE, "yes")
    monkeypatch.setattr(sweep, "load_plan", lambda *_, **__: pytest.fail("planned"))
    locations = Locations(home_dir=tmp_path / "home", engine="inline")
    with pytest.raises(UserError, match="LOGGING=yes: must be true or false"):
        sweep.run(StudyFlags("digits"), locations, yes=False, as_json=False, dry_run=dry_run)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("cleaning", "text"),
    [
        (Cleaning(), "no checkpoint was deleted: only runs of the table have one"),
        (
            Cleaning(left_count=2),
            "no checkpoint was deleted; 2 runs outside the table keep theirs, since another sweep, "
            "`train` or another run uses them, or since they were stopped early and can be "
            "continued",
        ),
        (Cleaning(1, 2_000_000), "the checkpoints of 1 run were deleted, 2 MB"),
    ],
)
def test_keep_table_says_what_it_has_done(
    cleaning: Cleaning,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = Home(tmp_path)
    home.create()
    monkeypatch.setattr(sweep, "delete_unused_checkpoints", lambda *_: cleaning)
    sweep._delete_unused_checkpoints(home, small_plan(), CommandConsole())
    assert capsys.readouterr().out == f"keep: table: {text}\n"
