from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from factories import cell_specs, make_cell, make_plan, make_result, text_hash
from recorded import recorded_runs

from reports.formats import FORMATS, format_csv, table_values
from reports.paper import STUDIES_BY_TABLE, paper_results
from reports.paper_tables import PlannedStudy, paper_table
from reports.plan_record import DatasetRecord
from trainables.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun
    from reports.table import Row, Table

RESNET = "ResNet-34 (32×32)"
SCENARIOS = ("symmetric-0.2", "symmetric-0.4")
REFERENCE = {"lambda": 0.5, "alpha": 0.9}


def planned(name: str, dataset: str, *methods: str) -> PlannedStudy:
    cells = [
        make_cell(method, scenario, values={}, digests=["", "", ""])
        for scenario in SCENARIOS
        for method in methods
    ]
    return PlannedStudy(name, dataset, RESNET, tuple(cells))


STUDIES = (planned("cifar10", "CIFAR-10", "ce", "nal"), planned("cifar100", "CIFAR-100", "ce"))


def sweep_of(
    *cells: tuple[CellRecord, Sequence[float]], **changes: Any
) -> tuple[PlanRecord, list[RecordedRun]]:
    fields: dict[str, Any] = {
        "study": "cifar10",
        "dataset": DatasetRecord("cifar10", "CIFAR-10", text_hash("data"), 10, 50_000, 10_000),
        "backbone": RESNET,
        "epochs": 500,
        **changes,
    }
    results = [
        make_result(spec, accuracy=accuracy)
        for cell, accuracies in cells
        for spec, accuracy in zip(
            cell_specs(cell.method, cell.scenario, cell.seeds, cell.values),
            accuracies,
            strict=False,
        )
    ]
    return make_plan([cell for cell, _ in cells], **fields), recorded_runs(results)


def rows_of(table: Table, section: int = 0) -> dict[tuple[str, str], Row]:
    return {(row.name, row.marker.split(" ")[0]): row for row in table.sections[section].rows}


def test_without_a_sweep_the_whole_table_is_planned_and_quoted() -> None:
    table = paper_table(1, STUDIES, {})
    assert [section.title for section in table.sections] == ["CIFAR-10", "CIFAR-100"]
    assert table.columns == ("symmetric 20 %", "symmetric 40 %")
    rows = rows_of(table)
    assert [entry.remark for entry in rows["NAL", "fixed"].entries] == ["0 of 3 seeds"] * 2
    assert [entry.text for entry in rows["NAL", "paper"].entries] == [
        "94.37 ± 0.04",
        "93.49 ± 0.07",
    ]
    # The epoch of this quoted accuracy is not known.
    assert rows["Cross Entropy", "paper"].entries[0].text == "86.98 ± 0.12§"
    assert {source.state for source in table.sources} == {"not recorded"}
    assert sum("No sweep of" in note for note in table.notes) == 2


def test_methods_have_the_order_of_the_paper() -> None:
    table = paper_table(1, STUDIES, {})
    names = [row.name for row in table.sections[0].rows if row.kind == "quoted"]
    assert names == list(dict.fromkeys(each.method for each in paper_results() if each.table == 1))
    assert names[0] == "Cross Entropy"
    assert names[-1] == "NAL"


def test_measured_accuracies_stand_above_the_published_ones_of_their_dataset() -> None:
    nal = make_cell("nal", "symmetric-0.4", values=REFERENCE, origin="reference", source="paper")
    tuned = make_cell("nal", "symmetric-0.4", values={"lambda": 2.0, "alpha": 0.8}, origin="tuned")
    sweep = sweep_of((nal, [0.9, 0.92, 0.94]), (tuned, [0.8, 0.8]))
    table = paper_table(1, STUDIES, {"cifar10": sweep})
    rows = rows_of(table)
    fixed = rows["NAL, λ = 0.5, α = 0.9", "fixed"].entries
    assert (fixed[1].text, fixed[1].n, fixed[1].source) == ("92.00 ± 2.00", 3, 0)
    assert fixed[0].remark == "0 of 3 seeds"
    entry = rows["NAL, λ = 2, α = 0.8", "tuned"].entries[1]
    assert (entry.text, entry.remark) == ("80.00 ± 0.00", "2 of 3 seeds")
    names = [row.name for row in table.sections[0].rows]
    assert names.index("NAL") == names.index("NAL, λ = 0.5, α = 0.9") + 1 or names[-1] == "NAL"
    assert all(entry.mean is None for entry in table.sections[1].rows[0].entries)
    assert any("cifar10: sweep" in note for note in table.notes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"subset": 1000}, "trained on 1,000 of 50,000 images"),
        ({"test_subset": 500}, "tested on 500 of 10,000 images"),
        ({"backbone": "ResNet-20 (32×32)"}, "network ResNet-20 (32×32)"),
        ({"epochs": 10}, "10 epochs instead of 500"),
        ({}, ""),
    ],
)
def test_runs_that_are_trained_otherwise_are_marked(changes: dict[str, Any], text: str) -> None:
    cell = make_cell("ce", "symmetric-0.4")
    table = paper_table(1, STUDIES, {"cifar10": sweep_of((cell, [0.7, 0.7, 0.7]), **changes)})
    entry = rows_of(table)["Cross Entropy", "fixed"].entries[1]
    assert entry.marks == (("¶",) if text else ())
    notes = [note for note in table.notes if note.startswith("¶")]
    assert [text in note for note in notes] == [True] * bool(text)


def test_a_scenario_outside_the_table_is_named() -> None:
    cell = make_cell("ce", "symmetric-incl-0.4")
    table = paper_table(1, STUDIES, {"cifar10": sweep_of((cell, [0.7, 0.7, 0.7]))})
    (note,) = [note for note in table.notes if note.startswith("cifar10: sweep")]
    assert cell.scenario_title in note
    assert all(entry.mean is None for entry in rows_of(table)["Cross Entropy", "fixed"].entries)


def test_columns_of_table_5_are_its_four_metrics() -> None:
    cells = (make_cell("nal", "clean", values={}, digests=["", "", ""]),)
    studies = [PlannedStudy("webvision", "mini-WebVision", "InceptionResNetV2", cells)]
    table = paper_table(5, studies, {})
    assert table.columns == (
        "WebVision, top-1",
        "WebVision, top-5",
        "ImageNet, top-1",
        "ImageNet, top-5",
    )
    quoted = rows_of(table)["NAL", "paper"]
    assert [entry.mean for entry in quoted.entries] == [77.41, 92.25, 74.09, 92.09]


def test_every_format_names_all_sweeps() -> None:
    cell = make_cell("ce", "symmetric-0.4")
    table = paper_table(1, STUDIES, {"cifar10": sweep_of((cell, [0.7, 0.7, 0.7]))})
    texts = {suffix: format_table(table) for suffix, format_table in FORMATS.items()}
    assert all("CIFAR-100" in text and "70.0" in text for text in texts.values())
    assert "study cifar100, no sweep" in texts[".tex"]
    assert [source["study"] for source in table_values(table)["sources"]] == ["cifar10", "cifar100"]
    studies = {line.partition(",")[0] for line in format_csv(table).splitlines()[1:]}
    assert studies == {"cifar10", "cifar100"}


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(UserError, match="--table 7: the NAL paper has the tables 1 to 6"):
        paper_table(7, STUDIES, {})
    assert sorted(STUDIES_BY_TABLE) == [1, 2, 3, 4, 5, 6]
