"""`vary`: cells that differ from the reference in one hyperparameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plans import Driver, small_plan, small_study

from orchestrator.planning.sizes import phase_sizes
from search_spaces.resolve import confirm_cell_values
from search_spaces.schema import Phase
from trainables.errors import StudyError

if TYPE_CHECKING:
    from pathlib import Path

VARIED = ("tune=[]", "vary={nal: {lambda: [0.01, 0.5, 100], alpha: [0.5, 0.9]}}")
POINTS = [
    {"lambda": 0.01, "alpha": 0.9},
    {"lambda": 0.5, "alpha": 0.9},
    {"lambda": 100.0, "alpha": 0.9},
    {"lambda": 0.5, "alpha": 0.5},
]


def test_each_varied_value_is_a_cell_with_the_other_reference_values(tmp_path: Path) -> None:
    plan = small_plan(sets=VARIED)
    assert confirm_cell_values(plan.study, "nal") == POINTS
    assert confirm_cell_values(plan.study, "ce") == [{}]
    assert [size.max_run_count for size in phase_sizes(plan)] == [2 * (1 + 4)]

    sweep = Driver(plan, tmp_path).run().sweep
    cells = [(cell.method, cell.origin, cell.seed_group.values) for cell in sweep.cells]
    assert cells == [("ce", "fixed", {}), *(("nal", "varied", point) for point in POINTS)]
    for cell in sweep.cells[1:]:
        for spec in cell.seed_group.specs:
            for name, value in cell.seed_group.values.items():
                assert spec.hyperparameters[name] == value
            assert spec == plan.spec(
                Phase.CONFIRM, "nal", "symmetric-0.4", cell.seed_group.values, spec.seeds.init
            )


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        ("{nal: {lambda: [0]}}", "lambda must be a number above 0, got 0.0"),
        ("{nal: {lambda: []}}", "must have at least one value, such as [0.1, 1, 10]"),
        ("{nal: {lambda: [1, 1]}}", "1.0 is given twice: remove one"),
        ("{nal: {lamda: [1]}}", "method nal has no parameter 'lamda': did you mean 'lambda'?"),
        (
            "{nal: {clamps: [1]}}",
            "only real numbers can be varied, and clamps is not a real number",
        ),
        ("{gce: {q: [0.7]}}", "'gce' is not among the methods of the study"),
    ],
)
def test_values_that_cannot_be_varied_are_refused(varied: str, message: str) -> None:
    with pytest.raises(StudyError) as error_info:
        small_study(sets=("tune=[]", f"vary={varied}"))
    assert message in str(error_info.value)


def test_a_tuned_method_cannot_be_varied() -> None:
    with pytest.raises(
        StudyError, match="nal is also in tune, so its values are searched: remove one"
    ):
        small_study(sets=("vary={nal: {lambda: [1]}}",))
