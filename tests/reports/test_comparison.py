from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from factories import cell_specs, make_cell, make_plan, make_result
from recorded import recorded_runs
from stores import fresh_store

from orchestrator.tracking.tracker import Tracker
from reports.comparison import comparison_table
from reports.plan_record import CandidateRecord, DatasetRecord, StoppedTrialRecord, TuningRecord
from reports.read import read_sweep
from search_spaces.schema import Phase
from trainables.datasets.base import Dataset, Split
from trainables.run.metrics import TEST_LAST, TEST_MEAN_LAST, dataset_columns
from trainables.run.parameters import Space
from trainables.run.result import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reports.plan_record import CellRecord, PlanRecord
    from reports.table import Row, Table
    from trainables.run.result import RunResult

TUNED: dict[str, bool | int | float | str] = {"lambda": 1.5, "alpha": 0.8}
REFERENCE = {"lambda": 0.5, "alpha": 0.9}
CIFAR = {
    "dataset": DatasetRecord("cifar10", "CIFAR-10", "d" * 64, 10, 50_000, 10_000),
    "backbone": "ResNet-34 (32×32)",
    "epochs": 500,
}


DIGITS = {"dataset": DatasetRecord("digits", "digits", "d" * 64, 10, 1437, 360)}


def tuned_cell(scenario: str = "symmetric-0.4", **changes: Any) -> CellRecord:
    fields = {"values": TUNED, "origin": "tuned", "trials": 16, "source": "search", **changes}
    return make_cell("nal", scenario, **fields)


def reference_cell(scenario: str = "symmetric-0.4", **changes: Any) -> CellRecord:
    fields = {"values": REFERENCE, "origin": "reference", "source": "paper", **changes}
    return make_cell("nal", scenario, **fields)


def results_of(cell: CellRecord, accuracies: Sequence[float | None]) -> list[RunResult]:
    specs = cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    return [
        make_result(spec, accuracy=accuracy or 0.0, diverged_at=None if accuracy else 2)
        for spec, accuracy in zip(specs, accuracies, strict=False)
    ]


def table_of(cells: Sequence[tuple[CellRecord, Sequence[float | None]]], **changes: Any) -> Table:
    plan = make_plan([cell for cell, _ in cells], **changes)
    return comparison_table(
        plan, recorded_runs(r for cell, a in cells for r in results_of(cell, a))
    )


def texts(row: Row) -> list[str]:
    return [entry.text for entry in row.entries]


def test_one_scenario_has_a_column_per_accuracy_kind() -> None:
    table = table_of([(tuned_cell(), [0.90, 0.92, 0.97]), (make_cell("ce"), [0.7, 0.7, 0.7])])
    assert table.columns == (
        "last epoch",
        "mean of last 3 epochs",
        "epoch chosen by noisy validation",
    )
    (section,) = table.sections
    nal, ce = section.rows
    assert (nal.name, nal.marker) == ("NAL, λ = 1.5, α = 0.8", "tuned (16 trials)")
    assert (ce.name, ce.marker) == ("Cross Entropy", "fixed (paper, eq. 1)")
    assert texts(nal) == ["93.00 ± 3.61", "92.67 ± 3.61", "94.00 ± 3.61"]
    assert texts(ce)[0] == "70.00 ± 0.00"
    assert [entry.bold for entry in nal.entries] == [True] * 3
    assert [entry.bold for entry in ce.entries] == [False] * 3


def test_several_scenarios_have_columns_and_a_section_per_accuracy_kind() -> None:
    names = ("symmetric-0.2", "symmetric-0.4")
    table = table_of([(tuned_cell(name), [0.9, 0.9, 0.9]) for name in names])
    assert table.columns == ("symmetric 20 %", "symmetric 40 %")
    assert [section.title for section in table.sections] == [
        "last epoch",
        "mean of last 3 epochs",
        "epoch chosen by noisy validation",
    ]


def test_without_a_held_out_split_there_are_two_accuracy_kinds() -> None:
    cell = make_cell("ce", seeds=(0,))
    result = make_result(cell_specs("ce", "symmetric-0.4", (0,), {})[0])
    (run,) = recorded_runs([result])
    metrics = {name: v for name, v in run.metrics.items() if name != "test/accuracy_best_val"}
    table = comparison_table(make_plan([cell]), [replace(run, metrics=metrics)])
    assert table.columns == ("last epoch", "mean of last 3 epochs")


def test_one_seed_has_no_deviation() -> None:
    table = table_of([(make_cell("ce", seeds=(0,)), [0.7])])
    assert texts(table.sections[0].rows[0])[0] == "70.00 ± –"
    assert table.notes[0].endswith(". One seed has no ±, which is printed as –.")


def test_missing_and_diverged_seeds_are_noted_and_do_not_compete() -> None:
    table = table_of(
        [
            (tuned_cell(), [0.99, 0.99, None]),
            (reference_cell(), [0.98, 0.98]),
            (make_cell("ce"), [0.7, 0.7, 0.7]),
        ]
    )
    diverged, missing, ce = (row.entries[0] for row in table.sections[0].rows)
    assert (diverged.text, diverged.remark) == ("99.00 ± 0.00", "1 of 3 diverged")
    assert (missing.text, missing.remark) == ("98.00 ± 0.00", "2 of 3 seeds")
    assert (ce.remark, ce.bold, missing.bold, diverged.bold) == ("", False, False, False)
    assert (
        "NAL, λ = 0.5, α = 0.9, symmetric 40 %: 1 of 3 runs could not be carried out, or was "
        "deleted in MLflow (seed 2)." in table.notes
    )
    assert "Where runs diverged, mean and ± are over the runs that finished." in table.notes


def test_runs_of_an_unfinished_sweep_are_missing_and_have_not_failed() -> None:
    table = table_of([(make_cell("ce"), [0.7])], state="running")
    assert "Missing runs: Cross Entropy, symmetric 40 %, seeds 1, 2." in table.notes


def test_a_row_of_failed_runs_names_the_outcome_and_the_command_that_shows_the_error() -> None:
    cells = [
        make_cell("ce", command="python -m orchestrator train digits --method ce"),
        make_cell("gce", command="python -m orchestrator train digits --method gce"),
    ]
    results = [
        replace(result, status=Status.OUT_OF_MEMORY, reason="GPU")
        for result in results_of(cells[1], [0.7, 0.7, 0.7])
    ]
    table = comparison_table(make_plan(cells), recorded_runs(results))
    assert table.notes[:2] == (
        "Cross Entropy, symmetric 40 %: 3 of 3 runs could not be carried out, or were deleted in "
        "MLflow (seeds 0, 1, 2). "
        "To see why: python -m orchestrator train digits --method ce --seed 0",
        "GCE, symmetric 40 %: 3 of 3 runs ran out of memory (seeds 0, 1, 2). "
        "To see why: python -m orchestrator train digits --method gce --seed 0",
    )


def test_a_cell_without_a_finished_run_has_no_number() -> None:
    table = table_of([(tuned_cell(), [None, None, None]), (reference_cell(), [])])
    tuned_entry, reference_entry = (row.entries[0] for row in table.sections[0].rows)
    assert (tuned_entry.text, tuned_entry.remark) == ("⊖", "3 of 3 diverged")
    assert (reference_entry.text, reference_entry.remark) == ("–", "0 of 3 seeds")


def test_equal_best_means_are_all_bold() -> None:
    table = table_of([(tuned_cell(), [0.9] * 3), (reference_cell(), [0.9] * 3)])
    assert [row.entries[0].bold for row in table.sections[0].rows] == [True, True]


def test_tuned_values_that_equal_the_reference_have_one_row() -> None:
    cell = tuned_cell(values=REFERENCE, origin="tuned, equals reference")
    (row,) = table_of([(cell, [0.9] * 3)]).sections[0].rows
    assert row.marker == "tuned (16 trials) = reference"


def test_a_tuned_cell_that_equals_the_reference_is_in_both_rows() -> None:
    both = tuned_cell("symmetric-0.2", values=REFERENCE, origin="tuned, equals reference")
    cells = [(both, [0.95] * 3), (tuned_cell(), [0.9] * 3), (reference_cell(), [0.8] * 3)]
    first, second = table_of(cells, scope="scenario").sections[0].rows
    assert (first.name, first.marker) == ("NAL, values by scenario", "tuned (16 trials)")
    assert texts(first) == ["95.00 ± 0.00", "90.00 ± 0.00"]
    assert (
        "Values of NAL, tuned: λ = 0.5, α = 0.9 on symmetric 20 %; λ = 1.5, α = 0.8 on symmetric "
        "40 %." in table_of(cells, scope="scenario").notes
    )
    assert (second.name, second.marker) == ("NAL, λ = 0.5, α = 0.9", "fixed (paper)")
    assert texts(second) == ["95.00 ± 0.00", "80.00 ± 0.00"]


def test_the_papers_numbers_are_shown_but_never_bold() -> None:
    cells = [(tuned_cell(), [0.5] * 3), (make_cell("ce"), [0.4] * 3)]
    table = table_of(cells, **CIFAR)
    rows = table.sections[0].rows
    assert [(row.name, row.marker, row.kind) for row in rows[2:]] == [
        ("NAL", "paper", "quoted"),
        ("Cross Entropy", "paper", "quoted"),
        ("NLNL", "paper", "quoted"),  # which is not trained here
    ]
    assert table.columns[3] == "published: epoch unknown"
    assert texts(rows[0])[3] == ""
    assert texts(rows[2]) == ["93.49 ± 0.07", "", "", ""]
    assert texts(rows[3]) == ["", "", "", "81.88 ± 0.29"]
    assert [row.entries[0].bold for row in rows] == [True, False, False, False, False]
    assert any(
        note.startswith('Rows marked "paper" quote') and "Table 1," in note for note in table.notes
    )


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"epochs": 10}, "this sweep trains for 10 epochs, and the published runs for 500."),
        ({"subset": 100}, "this sweep uses a part of the images."),
        ({"test_subset": 100}, "this sweep uses a part of the images."),
        (
            {"scenario_epochs": {"symmetric-0.4": 249}},
            "for 249 epochs, and the published runs for 500.",
        ),
        ({"scenario_epochs": {"symmetric-0.4": 250}}, ""),
    ],
)
def test_the_papers_numbers_are_only_beside_comparable_trainings(
    changes: dict[str, Any], note: str
) -> None:
    table = table_of([(tuned_cell(), [0.5] * 3)], **{**CIFAR, **changes})
    assert any(row.kind == "quoted" for row in table.sections[0].rows) == (not note)
    notes = [text for text in table.notes if text.startswith("The paper's accuracies for")]
    assert [text.endswith(note) for text in notes] == [True] * bool(note)


def test_each_published_accuracy_is_in_the_column_of_its_epoch() -> None:
    table = table_of(
        [(make_cell(name), [0.5] * 3) for name in ("gce", "elr", "sat", "dac")], **CIFAR
    )
    titles = {
        row.name: [
            title
            for title, entry in zip(table.columns, row.entries, strict=True)
            if not entry.is_empty
        ]
        for row in table.sections[0].rows
        if row.kind == "quoted"
    }
    assert titles == {
        "GCE": ["epoch chosen by noisy validation"],
        "ELR": ["epoch chosen by noisy validation"],
        "SAT": ["published: epoch unknown"],
        "DAC": ["published: best test epoch"],
        "NLNL": ["published: epoch unknown"],
    }


def test_the_papers_numbers_are_marked_if_noise_may_draw_the_true_class() -> None:
    table = table_of([(tuned_cell("symmetric-incl-0.4"), [0.5] * 3)], **CIFAR)
    assert texts(table.sections[0].rows[1])[0] == "93.49 ± 0.07†"
    assert any(note.startswith("† ") for note in table.notes)
    excluding = table_of([(tuned_cell(), [0.5] * 3)], **CIFAR)
    assert not any(note.startswith("† ") for note in excluding.notes)
    assert any("public code includes it" in note for note in excluding.notes)


def test_the_papers_numbers_on_another_backbone_are_not_shown() -> None:
    table = table_of([(tuned_cell(), [0.5] * 3)], **{**CIFAR, "backbone": "MLP"})
    assert len(table.sections[0].rows) == 1
    assert any("another backbone: ResNet34." in note for note in table.notes)


def test_a_subset_is_stated_in_subtitle_and_notes() -> None:
    table = table_of([(tuned_cell(), [0.5] * 3)], **CIFAR, subset=1000)
    assert "trained on 1,000 of 50,000 images" in table.subtitle
    assert "Trained on 1,000 of 50,000 images. Test set: 10,000 images." in table.notes


def test_a_subset_of_the_test_images_is_stated_in_subtitle_and_notes() -> None:
    table = table_of([(tuned_cell(), [0.5] * 3)], **CIFAR, test_subset=2000)
    assert "tested on 2,000 of 10,000 images" in table.subtitle
    assert any(
        "Accuracies are measured on 2,000 of 10,000 test images, the same for all" in note
        for note in table.notes
    )


def search_of(chosen: dict[str, bool | int | float | str], **changes: Any) -> TuningRecord:
    space = {"lambda": Space(0.1, 10, log=True), "alpha": Space(0.5, 1.0)}
    fields = {"trials": 3, "digests": [], "chosen": chosen, **changes}
    return TuningRecord("nal", "NAL", "symmetric-0.4", ["symmetric-0.4"], space, **fields)


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ({"lambda": 1.0, "alpha": 0.8}, []),
        ({"lambda": 9.5, "alpha": 0.8}, ["λ = 9.5"]),
        ({"lambda": 0.12, "alpha": 0.98}, ["λ = 0.12", "α = 0.98"]),
        ({"lambda": 20.0, "alpha": 0.8}, ["λ = 20"]),
    ],
)
def test_values_at_the_edge_of_their_range_are_noted(
    chosen: dict[str, bool | int | float | str], names: list[str]
) -> None:
    notes = table_of([(tuned_cell(), [0.5] * 3)], searches=[search_of(chosen)]).notes
    edges = [note for note in notes if "lies at the edge of its range" in note]
    assert [note.split(" lies")[0] for note in edges] == [f"NAL: the chosen {n}" for n in names]


def test_a_tuned_method_below_cross_entropy_is_noted_with_what_is_worth_trying() -> None:
    searches = [search_of(TUNED, remedies=["a larger λ", "more epochs"])]

    def notes(accuracy: float) -> list[str]:
        cells = [(tuned_cell(), [accuracy] * 3), (make_cell("ce"), [0.73] * 3)]
        table = table_of(cells, searches=searches)
        return [note for note in table.notes if "less accurate than cross entropy" in note]

    assert notes(0.8) == []
    assert notes(0.46) == [
        "NAL is less accurate than cross entropy on symmetric 40 %; worth trying: a larger λ; more "
        "epochs."
    ]


@pytest.mark.parametrize("has_converged", [True, False])
def test_cross_entropy_that_failed_to_converge_is_no_measure(*, has_converged: bool) -> None:
    tuned, ce = tuned_cell(), make_cell("ce")
    results = [
        replace(result, trace=[row | {"train/accuracy": train_accuracy} for row in result.trace])
        for cell, train_accuracy in ((tuned, 0.1), (ce, 0.9 if has_converged else 0.1))
        for result in results_of(cell, [0.1 if cell is tuned else 0.2] * 3)
    ]
    plan = make_plan([tuned, ce], searches=[search_of(TUNED)])
    notes = comparison_table(plan, recorded_runs(results)).notes
    assert any("less accurate than cross entropy" in note for note in notes) == has_converged


def test_fixed_axes_are_noted() -> None:
    def spread(**changes: Any) -> str:
        table = table_of([(tuned_cell(), [0.5] * 3)], **changes)
        (note,) = (note for note in table.notes if note.startswith("±"))
        return note

    assert "held fixed" not in spread(fixed_seeds={"subset": 0})
    assert "held fixed: noise." in spread(fixed_seeds={"subset": 0, "noise": 3})
    assert "held fixed: subset." in spread(fixed_seeds={"subset": 0}, subset=100)


def test_the_search_is_described_in_a_note() -> None:
    search = TuningRecord(
        method="nal",
        method_title="NAL",
        scenario="symmetric-0.4",
        serves=["symmetric-0.4", "symmetric-0.2"],
        space={"lambda": Space(0.05, 20, log=True), "alpha": Space(0.5, 0.99)},
        trials=16,
        digests=["x"] * 12,
        candidates=[
            *[CandidateRecord(TUNED, "search", ["a", "b", "c"])] * 3,
            CandidateRecord({"lambda": 0.5, "alpha": 0.9}, "reference", ["d", "e", "f"]),
        ],
        chosen=TUNED,
    )
    cells = [(tuned_cell(), [0.5] * 3)]
    notes = table_of(cells, searches=[search]).notes
    assert (
        "NAL: λ = 1.5, α = 0.8, from 12 of 16 trials on symmetric 40 % (λ in [0.05, 20], log; "
        "α in [0.5, 0.99]), then 3 candidates and the reference on 3 new seeds; one search "
        "serves all scenarios."
    ) in notes
    notes = table_of(cells, searches=[replace(search, chosen=None)], scope="scenario").notes
    assert any("not chosen yet" in note and "its own search" in note for note in notes)


def test_trials_that_were_stopped_early_are_noted() -> None:
    def note(**changes: Any) -> str:
        search = search_of(TUNED, scheduler="asha: the rule", trials=4, **changes)
        notes = table_of([(tuned_cell(), [0.5] * 3)], searches=[search], epochs=60).notes
        (text,) = (text for text in notes if "Rule: asha: the rule." in text)
        return text

    stopped = [StoppedTrialRecord(position, 1, epoch) for position, epoch in ((3, 40), (1, 20))]
    assert note(digests=["x"] * 4, stopped=[*stopped, StoppedTrialRecord(2, 1, 20)]) == (
        "NAL: 3 of 4 trials were stopped early (2 after epoch 20, 1 after epoch 40), so that the "
        "search needed 58 % of the epochs of whole trials; only whole trials become candidates. "
        "Rule: asha: the rule."
    )
    assert note(digests=["x"] * 9, seeds=5, stopped=[StoppedTrialRecord(1, 4)]).startswith(
        "NAL: 1 of 2 trials was stopped early (1 after 4 seeds), so that the search needed 90 % of"
    )
    assert note(digests=["x"] * 4).startswith("NAL: none of 4 trials was stopped early. Rule: ")
    plain = table_of([(tuned_cell(), [0.5] * 3)], searches=[search_of(TUNED)]).notes
    assert not [text for text in plain if "stopped early" in text]


def test_mixed_devices_are_noted() -> None:
    cell = tuned_cell(seeds=(0, 1))
    first, second = results_of(cell, [0.9, 0.9])
    second = replace(second, provenance={**second.provenance, "device": "cuda: NVIDIA A100"})
    notes = comparison_table(make_plan([cell]), recorded_runs([first, second])).notes
    assert any("different kinds of device (cpu; cuda: NVIDIA A100)" in note for note in notes)


def test_a_run_continued_on_another_device_is_noted() -> None:
    cell = tuned_cell(seeds=(0, 1))
    first, second = results_of(cell, [0.9, 0.9])
    device = "cpu, then cuda: NVIDIA A100"
    second = replace(second, provenance={**second.provenance, "device": device})
    notes = comparison_table(make_plan([cell]), recorded_runs([first, second])).notes
    assert notes[-3].startswith("Runs were trained on different kinds of device (")
    assert notes[-1] == (
        "Continued on another device or version: NAL, λ = 1.5, α = 0.8, symmetric 40 %, seed 1 "
        "(device cpu, then cuda: NVIDIA A100); the accuracies may differ from those of an "
        "uninterrupted run."
    )


def test_a_sweep_before_its_first_cell_is_an_empty_table() -> None:
    table = table_of([], state="running")
    assert all(section.rows == () for section in table.sections)
    assert table.notes[0].startswith("This sweep is not finished")


def test_a_spent_time_budget_is_noted_with_the_missing_runs() -> None:
    cells = [(make_cell("ce"), [0.7, 0.7])]
    table = table_of(cells, state="running", budget_hours=0.5, is_budget_spent=True)
    assert table.notes[0] == (
        "The time budget of 0.5 h was spent before all runs had ended: run the command again with "
        "a larger --budget-hours to continue."
    )
    assert table.notes[1].startswith("Missing runs: ")
    assert not any("is not finished" in note for note in table.notes)


def test_the_middle_column_is_named_after_the_protocol() -> None:
    ends = {"symmetric-0.4": {"protocol": "held-out-cycle-ends", "cycles": 3}}
    table = table_of([(make_cell("ce"), [0.7, 0.7, 0.7])], protocols=ends)
    assert table.columns == (
        "last epoch",
        "mean of last 3 cycle ends",
        "epoch chosen by noisy validation",
    )
    assert not [note for note in table.notes if note.startswith(("Averaged", "Chosen by"))]


@pytest.mark.parametrize(
    ("protocol", "offset", "has_mean"),
    [
        ({"protocol": "held-out-mean", "window": 1}, 0.0, False),
        ({"protocol": "held-out-cycle-ends", "cycles": 1}, 0.0, False),
        ({"protocol": "held-out-cycle-ends", "cycles": 1}, 0.1, True),  # not the last epoch
        ({"protocol": "held-out-mean", "window": 2}, 0.0, True),
    ],
)
def test_the_mean_of_the_last_epoch_alone_has_no_column(
    protocol: dict[str, str | int], offset: float, *, has_mean: bool
) -> None:
    cell = make_cell("ce")
    plan = make_plan([cell], protocols={"symmetric-0.4": protocol})
    runs = [
        replace(run, metrics={**run.metrics, TEST_MEAN_LAST: run.metrics[TEST_LAST] + offset})
        for run in recorded_runs(results_of(cell, [0.7, 0.8, 0.9]))
    ]
    columns = comparison_table(plan, runs).columns
    assert any(title.startswith("mean of") for title in columns) == has_mean
    assert len(columns) == 2 + has_mean


def test_a_note_tells_which_scenario_averages_which_epochs() -> None:
    protocols: dict[str, dict[str, str | int]] = {
        "symmetric-0.4": {"protocol": "held-out-cycle-ends", "cycles": 3},
        "symmetric-0.2": {"protocol": "held-out-mean", "window": 10},
    }
    cells = [(make_cell("ce", scenario), [0.7] * 3) for scenario in protocols]
    assert (
        "Averaged epochs differ between scenarios: last 3 cycle ends for symmetric 40 %; "
        "last 10 epochs for symmetric 20 %."
    ) in table_of(cells, protocols=protocols).notes


# --- several test sets, clean validation and real noise

WEBVISION = DatasetRecord("webvision", "mini-WebVision", "d" * 64, 50, 65_944, 2_500)
SHIFTS = {
    "test/webvision/top1": 0.0,
    "test/webvision/top5": 0.2,
    "test/imagenet/top1": -0.05,
    "test/imagenet/top5": 0.1,
}


def webvision_plan(cell: CellRecord) -> PlanRecord:
    split = Split(np.zeros((4, 1, 2, 2), dtype=np.uint8), np.arange(4))
    dataset = Dataset(
        "made up",
        tuple("abcd"),
        split,
        split,
        test_name="webvision",
        other_test_splits={"imagenet": split},
        top_k=(1, 5),
        digest="",
    )
    return make_plan(
        [cell],
        dataset=WEBVISION,
        backbone="InceptionResNetV2",
        further=dataset_columns(dataset),
        epochs=500,
    )


def webvision_results(cell: CellRecord) -> list[RunResult]:
    specs = cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    results = []
    for spec in specs:
        result = make_result(spec, accuracy=0.7)
        for row in result.trace:
            row |= {name: row["test/accuracy"] + shift for name, shift in SHIFTS.items()}
        results.append(result)
    return results


def test_webvisions_four_numbers_are_compared_with_the_papers(tmp_path: Path) -> None:
    cell = make_cell("nal", "clean")
    plan, uri = webvision_plan(cell), fresh_store(tmp_path)
    tracker = Tracker(uri, tmp_path / "artifacts", plan.study)
    tracker.start_sweep(plan, "")
    for result in webvision_results(cell):
        tracker.record(result, Phase.CONFIRM, cell)
    tracker.finish_sweep(plan, {})

    table = comparison_table(*read_sweep(uri))
    (section,) = table.sections
    measured, quoted = section.rows
    measured_entries = dict(zip(table.columns, measured.entries, strict=True))
    paper = dict(zip(table.columns, quoted.entries, strict=True))
    for title, accuracy, published in (
        ("webvision, top-1, ", "70.00", "77.41"),
        ("webvision, top-5, ", "90.00", "92.25"),
        ("imagenet, top-1, ", "65.00", "74.09"),
        ("imagenet, top-5, ", "80.00", "92.09"),
    ):
        assert measured_entries[f"{title}last epoch"].text.startswith(accuracy)
        assert paper[f"{title}last epoch"].is_empty
        assert paper[f"published: {title}best test epoch"].text == published
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
    assert not any("differ from the true labels" in note for note in table.notes)


def test_numbers_of_pretrained_networks_are_marked() -> None:
    data = DatasetRecord("clothing1m", "Clothing1M", "d" * 64, 14, 1_000_000, 10_526)
    cells = [make_cell(method, "clean") for method in ("ce", "nal")]
    results = [
        make_result(spec)
        for cell in cells
        for spec in cell_specs(cell.method, "clean", cell.seeds, cell.values)
    ]
    table = comparison_table(
        make_plan(cells, dataset=data, backbone="ResNet-50", epochs=400), recorded_runs(results)
    )
    rows = {row.name: row for row in table.sections[0].rows if row.kind == "quoted"}
    assert table.columns[3:] == (
        "published: epoch unknown",
        "published: epoch chosen by clean validation",
    )
    assert rows["Cross Entropy"].entries[3].text == "69.21‡"
    assert rows["NAL"].entries[4].text == "73.58"
    assert (
        "‡ marks the paper's accuracy of a network that started from ImageNet weights."
        in table.notes
    )


def test_the_sampling_error_of_the_test_set_is_noted() -> None:
    table = table_of([(make_cell("ce"), [0.90, 0.92, 0.934])], **DIGITS)
    assert (
        "Another test set of 360 images would change an accuracy of 91.8 % by 1.4 points "
        "(standard error), which ± does not contain." in table.notes
    )


def test_an_accuracy_of_100_percent_is_noted_with_what_it_does_not_exclude() -> None:
    table = table_of([(make_cell("ce"), [1.0, 1.0, 1.0])], **DIGITS)
    # 0.9917 to the power of 360 is 0.05.
    assert (
        "An accuracy of 100 % on 360 test images does not exclude one of 99.2 % on other images "
        "(95 % confidence), which ± does not contain." in table.notes
    )


def test_the_title_names_the_noise_that_a_flag_has_chosen() -> None:
    cells: list[tuple[CellRecord, list[float | None]]] = [(make_cell("ce", "clean"), [0.9] * 3)]
    assert table_of(cells, has_other_scenarios=True).title == (
        "scikit-learn digits (here: clean labels)"
    )
    assert table_of(cells).title == "scikit-learn digits"


def test_only_a_difference_that_the_test_finds_is_called_less_accurate() -> None:
    search = TuningRecord("nal", "NAL", "symmetric-0.4", [], {}, trials=1, digests=[])

    def says_so(accuracies: list[float | None]) -> bool:
        ce_accuracies: list[float | None] = [0.80, 0.81, 0.82]
        cells = [(tuned_cell(), accuracies), (make_cell("ce"), ce_accuracies)]
        notes = table_of(cells, searches=[search]).notes
        return any("NAL is less accurate than cross entropy" in note for note in notes)

    assert says_so([0.70, 0.712, 0.72])
    assert not says_so([0.70, 0.80, 0.90])
    assert not says_so([0.78, 0.82, 0.82])
