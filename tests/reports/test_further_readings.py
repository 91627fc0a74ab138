"""Tables of datasets with several test sets, clean validation labels, or real noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from factories import cell_specs, make_cell, make_plan, make_result
from recorded import recorded_runs
from stores import fresh_store

from orchestrator.tracking.tracker import Tracker
from reports.comparison import comparison_table
from reports.plan_record import DatasetRecord
from reports.read import read_sweep
from search_spaces.schema import Phase
from trainables.datasets.base import Dataset, Split
from trainables.run.metrics import further_readings

if TYPE_CHECKING:
    from pathlib import Path

    from reports.plan_record import CellRecord, PlanRecord
    from trainables.run.result import RunResult

WEBVISION = DatasetRecord("webvision", "mini-WebVision", "d" * 64, 50, 65_944, 2_500)
SHIFTS = {
    "test/webvision/top1": 0.0,
    "test/webvision/top5": 0.2,
    "test/imagenet/top1": -0.05,
    "test/imagenet/top5": 0.1,
}


def dataset(**changes: object) -> Dataset:
    split = Split(np.zeros((4, 1, 2, 2), dtype=np.uint8), np.arange(4))
    default = Dataset("made up", tuple("abcd"), split, split)
    return replace(default, digest="", **changes)  # type: ignore[arg-type]


def plan_of(cell: CellRecord) -> PlanRecord:
    split = dataset().test
    several = dataset(test_name="webvision", other_tests={"imagenet": split}, top=(1, 5))
    return make_plan(
        [cell],
        dataset=WEBVISION,
        backbone="InceptionResNetV2",
        further=further_readings(several),
    )


def results_of(cell: CellRecord) -> list[RunResult]:
    specs = cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    results = []
    for spec in specs:
        result = make_result(spec, accuracy=0.7)
        for row in result.trace:
            row |= {name: row["test/accuracy"] + shift for name, shift in SHIFTS.items()}
        results.append(result)
    return results


def test_further_readings_of_a_dataset() -> None:
    split = dataset().test
    assert further_readings(dataset()) == {}
    assert further_readings(dataset(validation=split)) == {
        "test/accuracy_best_clean_val": "epoch chosen by clean validation"
    }
    assert further_readings(dataset(top=(1, 5))) == {
        "test/test/top1_last": "test, top-1, last epoch",
        "test/test/top5_last": "test, top-5, last epoch",
    }


def test_webvisions_four_numbers_are_compared_with_the_papers(tmp_path: Path) -> None:
    cell = make_cell("nal", "clean")
    plan, uri = plan_of(cell), fresh_store(tmp_path)
    tracker = Tracker(uri, tmp_path / "artifacts", plan.study)
    tracker.start_sweep(plan, "")
    for result in results_of(cell):
        tracker.record(result, Phase.CONFIRM, cell)
    tracker.finish_sweep(plan, {})

    table = comparison_table(*read_sweep(uri))
    (section,) = table.sections
    measured, quoted = section.rows
    measured_entries = dict(zip(table.columns, measured.entries, strict=True))
    paper = dict(zip(table.columns, quoted.entries, strict=True))
    for title, accuracy, published in (
        ("last epoch", "70.00", "77.41"),
        ("webvision, top-1, last epoch", "70.00", "77.41"),
        ("webvision, top-5, last epoch", "90.00", "92.25"),
        ("imagenet, top-1, last epoch", "65.00", "74.09"),
        ("imagenet, top-5, last epoch", "80.00", "92.09"),
    ):
        assert measured_entries[title].text.startswith(accuracy)
        assert paper[title].text == published
    assert any("Table 5" in note for note in table.notes)


@pytest.mark.parametrize(
    ("scenario", "shared"),
    [
        ("symmetric-0.4", False),
        ("symmetric-official-0.4", True),
        ("human-worse", True),
        ("pmd-1-0.35", False),
        ("human-worse+symmetric-0.3", False),
    ],
)
def test_a_shared_draw_of_noise_is_noted(scenario: str, *, shared: bool) -> None:
    cell = make_cell("ce", scenario)
    specs = cell_specs("ce", scenario, cell.seeds, {})
    table = comparison_table(make_plan([cell]), recorded_runs(make_result(spec) for spec in specs))
    notes = [note for note in table.notes if note.startswith("All seeds see one draw")]
    assert bool(notes) == shared


def test_without_true_labels_no_flip_rate_is_noted() -> None:
    cell = make_cell("ce", "clean")
    results = [
        replace(result, labels=replace(result.labels, flip_rate=None))
        for result in (make_result(spec) for spec in cell_specs("ce", "clean", cell.seeds, {}))
    ]
    table = comparison_table(make_plan([cell]), recorded_runs(results))
    assert not any("really differ" in note for note in table.notes)


def test_numbers_of_pretrained_networks_are_marked() -> None:
    data = DatasetRecord("clothing1m", "Clothing1M", "d" * 64, 14, 1_000_000, 10_526)
    cells = [make_cell(method, "clean") for method in ("ce", "nal")]
    results = [
        make_result(spec)
        for cell in cells
        for spec in cell_specs(cell.method, "clean", cell.seeds, cell.values)
    ]
    table = comparison_table(
        make_plan(cells, dataset=data, backbone="ResNet-50"), recorded_runs(results)
    )
    rows = {row.name: row for row in table.sections[0].rows if row.kind == "quoted"}
    assert rows["Cross Entropy"].entries[0].text == "69.21‡"
    assert rows["NAL"].entries[0].text == "73.58"
    assert "‡ is the paper's number of a network that began with ImageNet weights." in table.notes
