from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from factories import cell_specs, make_cell, make_plan, make_result, text_hash
from recorded import recorded_runs

from reports.comparison import comparison_table
from reports.plan_record import DatasetRecord
from reports.public_runs import MARKER
from reports.replication import find_replications

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun
    from reports.table import Table

OWN_RECIPE = "own recipe (as in the public runs): 100 epochs, last epoch"


def sweep_of(
    cells: Sequence[CellRecord], accuracy: float = 0.683, **changes: Any
) -> tuple[PlanRecord, list[RecordedRun]]:
    fields: dict[str, Any] = {
        "study": "cifar10n",
        "dataset": DatasetRecord("cifar10n", "CIFAR-10N", text_hash("data"), 10, 50_000, 10_000),
        "backbone": "ResNet-34 (32×32)",
        "epochs": 500,
        **changes,
    }
    results = [
        make_result(spec, accuracy=accuracy + 0.001 * spec.seeds.init)
        for cell in cells
        for spec in cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    ]
    return make_plan(cells, **fields), recorded_runs(results)


def ce(scenario: str = "human-worse", recipe: str = "") -> CellRecord:
    epochs = int(recipe.split(": ")[1].split(maxsplit=1)[0]) if recipe else 0
    return make_cell("ce", scenario, recipe=recipe, epochs=epochs)


def quoted_texts(table: Table) -> dict[str, str]:
    """Return the quoted text of each kind of accuracy in a table of one scenario."""
    (row,) = [row for row in table.sections[0].rows if row.marker == MARKER]
    return {entry.kind: entry.text for entry in row.entries if not entry.is_empty}


def test_each_reading_stands_in_its_own_column() -> None:
    table = comparison_table(*sweep_of([ce(), make_cell("nal", "human-worse")]))
    texts = quoted_texts(table)
    assert texts == {
        "last epoch": "68.26 ± 1.08",
        "published: mean of last 10 epochs": "69.87 ± 0.54",
        "published: best test epoch": "83.91 ± 0.09",
    }
    (note,) = [note for note in table.notes if "noisypy" in note]
    assert "Cross Entropy for 100 epochs" in note


def test_a_mean_over_the_same_epochs_stands_beside_the_measured_mean() -> None:
    table = comparison_table(*sweep_of([ce()], window=10))
    assert quoted_texts(table)["mean of last 10 epochs"] == "69.87 ± 0.54"
    assert "published: mean of last 10 epochs" not in table.columns


@pytest.mark.parametrize(
    ("dataset", "scenario", "text"),
    [
        ("cifar10n", "human-aggre", "86.61 ± 0.90"),
        ("cifar100n", "human-noisy", "49.18 ± 0.59"),
        ("cifar10", "clean", "92.97 ± 0.38"),
        ("cifar10", "symmetric-0.4", ""),
    ],
)
def test_label_sets_are_those_of_the_scenario(dataset: str, scenario: str, text: str) -> None:
    record = DatasetRecord(dataset, dataset, text_hash("data"), 10, 50_000, 10_000)
    table = comparison_table(*sweep_of([ce(scenario)], dataset=record))
    rows = [row for row in table.sections[0].rows if row.marker == MARKER]
    assert [row.entries[0].text for row in rows] == ([text] if text else [])


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"subset": 1000}, "since this sweep uses a part of the images"),
        ({"epochs": 40}, "trains for 40 epochs, and the public runs for 100"),
        ({"backbone": "ResNet-20 (32×32)"}, "since their network is ResNet34"),
    ],
)
def test_runs_that_are_not_comparable_are_named(changes: dict[str, Any], note: str) -> None:
    table = comparison_table(*sweep_of([ce()], **changes))
    assert not [row for row in table.sections[0].rows if row.marker == MARKER]
    assert sum(note in each for each in table.notes) == 1


def verdicts(*cells: CellRecord, **changes: Any) -> dict[str, tuple[str, str]]:
    """Return kind and reason of the verdicts on public runs, by the kind of accuracy."""
    return {
        each.kind: (each.verdict.kind, each.verdict.reason)
        for each in find_replications(*sweep_of(cells, **changes))
        if "noisypy" in each.source
    }


def test_only_the_same_reading_of_runs_of_the_same_length_is_judged() -> None:
    judged = verdicts(ce(recipe=OWN_RECIPE))
    assert judged["last epoch"][0] in ("reproduced", "inconclusive")
    assert judged["best test epoch"][1] == "the public accuracy is that of the best test epoch"
    assert judged["mean of last 10 epochs"][1] == "no run has a result of these epochs"
    far_off = verdicts(ce(recipe=OWN_RECIPE), accuracy=0.90)
    assert far_off["last epoch"][0] == "not reproduced"


@pytest.mark.parametrize(
    ("recipe", "changes", "reason"),
    [
        ("", {}, "trained here with NAL's recipe"),
        (OWN_RECIPE.replace("100", "150"), {}, "150 epochs here, 100 in the public runs"),
        (f"{OWN_RECIPE}, 10 % held out", {}, "the public runs hold out no labels"),
        (OWN_RECIPE, {"subset": 1000}, "this sweep uses a part of the images"),
        (OWN_RECIPE, {"backbone": "ResNet-20"}, "the public runs have another network, ResNet34"),
    ],
)
def test_other_trainings_are_not_comparable(
    recipe: str, changes: dict[str, Any], reason: str
) -> None:
    assert verdicts(ce(recipe=recipe), **changes)["last epoch"] == ("not comparable", reason)
