from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from factories import cell_specs, make_cell, make_plan, make_result, text_hash
from recorded import recorded_runs

from reports.joined import JoinedLayout, joined_table
from reports.plan_record import DatasetRecord
from trainables.errors import UserError

if TYPE_CHECKING:
    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun
    from reports.table import Table

Sweep = tuple["PlanRecord", "list[RecordedRun]"]


CELL = text_hash("cell")
"""Digest of the cell of all runs, which is read only where a cell has runs of two sweeps."""


def sweep_of(
    name: str,
    cells: dict[str, list[float]] | list[tuple[CellRecord, list[float]]],
    **changes: Any,
) -> Sweep:
    """Return a sweep whose cells have these accuracies by seed."""
    if isinstance(cells, dict):
        cells = [(make_cell(method, seeds=range(len(a))), a) for method, a in cells.items()]
    results = [
        make_result(spec, accuracy=accuracy)
        for cell, accuracies in cells
        for spec, accuracy in zip(
            cell_specs(cell.method, cell.scenario, cell.seeds, cell.values),
            accuracies,
            strict=True,
        )
    ]
    runs = [replace(run, cell=CELL) for run in recorded_runs(results)]
    plan = make_plan(
        [cell for cell, _ in cells],
        study=name,
        sweep=text_hash(name),
        trainings={cell.scenario: "recipe" for cell, _ in cells},
        **changes,
    )
    return plan, runs


def texts(table: Table) -> dict[str, list[str]]:
    return {row.name: [entry.text for entry in row.entries] for row in table.sections[0].rows}


def test_sweeps_that_agree_share_a_column() -> None:
    first, second = sweep_of("a", {"ce": [0.7, 0.72]}), sweep_of("b", {"gce": [0.8, 0.82]})
    table = joined_table([first, second], JoinedLayout())
    assert table.columns == ("symmetric 40 %",)
    assert texts(table) == {"Cross Entropy": ["71.00 ± 1.41"], "GCE": ["81.00 ± 1.41"]}
    assert [row.entries[0].source for row in table.sections[0].rows] == [0, 1]
    assert [source.study for source in table.sources] == ["a", "b"]


def changed_runs(sweep: Sweep, **changes: Any) -> Sweep:
    plan, runs = sweep
    return plan, [replace(run, **changes) for run in runs]


FIRST = sweep_of("a", {"ce": [0.7, 0.72]})
SECOND = sweep_of("b", {"gce": [0.8, 0.82]})


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (changed_runs(SECOND, revision=99), "revisions"),
        (changed_runs(SECOND, provenance={"device": "cuda: H100", "torch": "2"}), "devices"),
        ((replace(SECOND[0], trainings={"symmetric-0.4": "other"}), SECOND[1]), "recipes"),
        ((replace(SECOND[0], trainings={}), SECOND[1]), "recipes"),
        (
            (replace(SECOND[0], cells=[replace(SECOND[0].cells[0], train_count=9)]), SECOND[1]),
            "held out",
        ),
        (changed_runs(SECOND, labels_sha256="0" * 64), "noisy labels"),
        ((replace(SECOND[0], subset=100), SECOND[1]), "training images"),
        ((replace(SECOND[0], backbone="ResNet-20"), SECOND[1]), "network"),
        (
            (
                replace(
                    SECOND[0],
                    dataset=DatasetRecord("digits", "digits", text_hash("other"), 10, 1437, 360),
                ),
                SECOND[1],
            ),
            "data",
        ),
    ],
)
def test_sweeps_that_differ_have_columns_of_their_own(second: Sweep, reason: str) -> None:
    table = joined_table([FIRST, second], JoinedLayout())
    labels = [f"{name} {text_hash(name)[:12]}" for name in ("a", "b")]
    assert table.columns == tuple(f"symmetric 40 %, {label}" for label in labels)
    assert texts(table) == {"Cross Entropy": ["71.00 ± 1.41", ""], "GCE": ["", "81.00 ± 1.41"]}
    assert f"symmetric 40 %: {labels[0]} and {labels[1]} differ in {reason}." in table.notes


def test_a_layout_may_pool_what_differs() -> None:
    second = changed_runs(SECOND, revision=99)
    table = joined_table([FIRST, second], JoinedLayout(pool=frozenset({"revisions"})))
    assert table.columns == ("symmetric 40 %",)
    assert any(note.startswith("The layout allows revisions to differ") for note in table.notes)
    assert any(note.endswith("differ in revisions.") for note in table.notes)


def test_one_method_has_the_seeds_of_all_sweeps_and_a_run_counts_once() -> None:
    first = sweep_of("a", [(make_cell("ce", seeds=(0, 1)), [0.70, 0.72])])
    second = sweep_of("b", [(make_cell("ce", seeds=(1, 2)), [0.72, 0.74])])
    (row,) = joined_table([first, second], JoinedLayout()).sections[0].rows
    assert row.entries[0].n == 3
    assert row.entries[0].accuracy_by_seed == pytest.approx({0: 70.0, 1: 72.0, 2: 74.0})


def test_the_same_runs_under_two_names_are_one_row() -> None:
    cell = make_cell("ce", seeds=(0, 1))
    second = sweep_of("b", [(replace(cell, origin="tuned", trials=3), [0.70, 0.72])])
    (row,) = joined_table([FIRST, second], JoinedLayout()).sections[0].rows
    assert row.entries[0].accuracy_by_seed == pytest.approx({0: 70.0, 1: 72.0})


@pytest.mark.parametrize("cell", ["", text_hash("other fixed values")])
def test_runs_that_differ_in_more_than_their_seeds_are_not_one_cell(cell: str) -> None:
    first = sweep_of("a", [(make_cell("ce", seeds=(0, 1)), [0.70, 0.72])])
    second = changed_runs(sweep_of("b", [(make_cell("ce", seeds=(2, 3)), [0.50, 0.52])]), cell=cell)
    table = joined_table([first, second], JoinedLayout())
    assert texts(table) == {"Cross Entropy": ["71.00 ± 1.41"]}
    assert any("with other fixed values are not shown beside" in note for note in table.notes)


def test_other_runs_at_the_same_seeds_are_not_mixed() -> None:
    other = make_cell("ce", seeds=(0, 1), digests=[text_hash("x"), text_hash("y")])
    plan, runs = sweep_of("b", [(make_cell("ce", seeds=(0, 1)), [0.5, 0.5])])
    moved = [replace(run, digest=digest) for run, digest in zip(runs, other.digests, strict=True)]
    table = joined_table([FIRST, (replace(plan, cells=[other]), moved)], JoinedLayout())
    assert texts(table) == {"Cross Entropy": ["71.00 ± 1.41"]}
    assert any("at the same seeds are not shown" in note for note in table.notes)


def test_rows_and_columns_have_the_order_of_the_layout() -> None:
    cells = [
        (make_cell(method, scenario, seeds=(0,)), [0.5])
        for scenario in ("symmetric-0.4", "symmetric-incl-0.4", "symmetric-0.2")
        for method in ("ce", "gce", "sce")
    ]
    layout = JoinedLayout(
        methods=("sce", "ce"), scenarios=("symmetric-0.2", "symmetric-incl-0.4"), title="mine"
    )
    table = joined_table([sweep_of("a", cells)], layout)
    assert [row.method for row in table.sections[0].rows] == ["sce", "ce"]
    assert table.columns == ("symmetric 20 %", cells[3][0].scenario_title)
    assert table.title == "mine"


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (JoinedLayout(metric="accuracy"), "metric: unknown accuracy 'accuracy': "),
        (JoinedLayout(methods=("nal",)), "rows: no sweep has 'nal': "),
        (JoinedLayout(scenarios=("clean",)), "columns: no sweep has 'clean': "),
    ],
)
def test_unknown_names_are_refused(layout: JoinedLayout, message: str) -> None:
    with pytest.raises(UserError, match=message):
        joined_table([FIRST], layout)
