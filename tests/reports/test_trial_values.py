from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factories import make_result
from recorded import recorded_runs

from reports.trial_values import trial_values
from trainables.run.parameters import ChoiceSpace, Space

if TYPE_CHECKING:
    from reports.read import RecordedRun
    from trainables.run.parameters import AnySpace

SPACES: dict[str, AnySpace] = {
    "lambda": Space(0.05, 20, log=True),
    "clamps": ChoiceSpace((False, True)),
    "target_interval": Space(1, 9, integer=True, when={"clamps": (False,)}),
}


def run_with(clamps: str, **numbers: float) -> RecordedRun:
    (run,) = recorded_runs([make_result()])
    metrics = {f"hp/{name}": value for name, value in numbers.items()}
    return replace(run, metrics=metrics, params={"clamps": clamps})


def test_values_have_their_types() -> None:
    values = trial_values(run_with("False", **{"lambda": 2.5, "target_interval": 3.0}), SPACES)
    assert values == {"lambda": 2.5, "clamps": False, "target_interval": 3}
    assert [type(value) for value in values.values()] == [float, bool, int]


def test_values_whose_conditions_are_not_met_are_left_out() -> None:
    run = run_with("True", **{"lambda": 2.5, "target_interval": 3.0})
    assert trial_values(run, SPACES) == {"lambda": 2.5, "clamps": True}


def test_values_that_are_not_recorded_are_left_out() -> None:
    assert trial_values(run_with("maybe", target_interval=3.0), SPACES) == {}
