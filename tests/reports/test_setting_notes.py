"""Notes on what was trained: values and their sources, sizes, epochs, precision and code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from factories import cell_specs, make_cell, make_plan, make_result
from recorded import recorded_runs

from reports.comparison import comparison_table
from reports.read import describe_commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.plan_record import CellRecord

GCE = make_cell(
    "gce",
    settings={"q": 0.7, "k": None},
    setting_sources={"q": "eq. 6", "k": "eq. 6"},
    precision="bfloat16",
    train_count=1006,
    noise_rule="excludes the true class",
)


def notes_of(cells: Sequence[CellRecord], commits: Sequence[str] = ("",), **changes: Any) -> str:
    specs = [
        spec
        for cell in cells
        for spec in cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    ]
    runs = [
        replace(run, commit=commits[i % len(commits)])
        for i, run in enumerate(recorded_runs(map(make_result, specs)))
    ]
    return "\n".join(comparison_table(make_plan(cells, **changes), runs).notes)


def test_fixed_values_have_their_sources() -> None:
    assert "Fixed for GCE: q = 0.7, k = none (eq. 6)." in notes_of([GCE])


def test_values_that_differ_by_scenario_name_it() -> None:
    other = make_cell("gce", "symmetric-0.2", settings={"q": 0.5}, setting_sources={"q": "mine"})
    notes = notes_of([GCE, other])
    assert "Fixed for GCE on symmetric 40 %: q = 0.7, k = none (eq. 6)." in notes
    assert "Fixed for GCE on symmetric 20 %: q = 0.5 (mine)." in notes


def test_rows_that_fix_other_values_are_told_apart() -> None:
    tuned = make_cell(
        values={"lambda": 2.0}, origin="tuned", settings={"delta": 0.2}, setting_sources={}
    )
    reference = make_cell(
        values={"lambda": 0.5}, origin="reference", settings={"delta": 0.1}, setting_sources={}
    )
    notes = notes_of([tuned, reference])
    assert "Fixed for NAL, tuned: delta = 0.2." in notes
    assert "Fixed for NAL, reference: delta = 0.1." in notes
    assert "Fixed for NAL: delta = 0.2." in notes_of(
        [tuned, replace(reference, settings=tuned.settings)]
    )


def test_sizes_rule_of_noise_and_precision() -> None:
    notes = notes_of([GCE])
    assert (
        "Training set: 1,437 images, of which runs are trained on 1,006 and hold out the others. "
        "Test set: 360 images."
    ) in notes
    assert "symmetric 40 % (excludes the true class): 40.00 %" in notes
    assert "All runs were trained on cpu in bfloat16." in notes


def test_records_of_older_versions_have_no_empty_notes() -> None:
    notes = notes_of([make_cell("gce")])
    assert "Fixed for" not in notes
    assert "All runs were trained on cpu." in notes
    assert "symmetric 40 %: 40.00 %" in notes
    assert "Training code: revision 2; its commit is not recorded." in notes


def test_commits_are_named_once_with_uncommitted_changes() -> None:
    commits = ("0123abcd4567", describe_commit("89ab" * 10, "no, then yes"))
    assert "revision 2, commits 0123abcd4567; 89ab89ab89ab, with uncommitted changes." in notes_of(
        [GCE], commits
    )
    assert describe_commit("not a checkout", "unknown") == ""
    assert describe_commit("", "") == ""
    assert describe_commit("ab" * 20, "no") == "abababababab"


def test_another_number_of_epochs_than_the_studys_is_marked() -> None:
    assert "Shortened by a flag to 6 of the study's 60 epochs" in notes_of([GCE], study_epochs=60)
    assert "Lengthened by a flag from the study's 3 epochs" in notes_of([GCE], study_epochs=3)
    assert "by a flag" not in notes_of([GCE], study_epochs=6)


def test_what_was_not_tuned_is_said_beside_what_was() -> None:
    assert "No hyperparameter was tuned in this sweep" in notes_of([GCE])
