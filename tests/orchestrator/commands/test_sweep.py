"""The command `sweep` in this process, with fake records instead of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plans import STUDY, Driver
from rich.console import Console

from orchestrator.commands import sweep
from orchestrator.flags import Locations, StudyFlags
from orchestrator.planning import cost as costs
from orchestrator.planning.loading import SYSTEM_METRICS_VARIABLE, load_plan
from trainables.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.planning.cost import MachineCost


class MeasurementError(Exception):
    """A cost was to be measured."""


def test_a_finished_sweep_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out_costs: list[MachineCost | None] = []

    def fail(*_: Any, **__: Any) -> None:
        raise MeasurementError

    def carry_out(*arguments: Any, **_: Any) -> list[str]:
        carried_out_costs.append(arguments[3])
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
