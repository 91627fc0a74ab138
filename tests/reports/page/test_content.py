"""What a page shows below the entries of a table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import cell_specs, make_cell, make_result
from pages import judged_plan, page_of, page_runs, small_plan
from recorded import recorded_runs

from reports.plan_record import StoppedTrialRecord
from trainables.run.metrics import TEST_LAST, TEST_MEAN_LAST


def test_each_entry_opens_its_runs() -> None:
    plan = small_plan()
    runs = page_runs(plan)
    page = page_of(plan, runs)
    row = page.table.sections[0].rows[1]
    cell = page.cells_by_digest[row.entries[0].digests[0]]
    assert cell.title == "NAL, λ = 1.235, α = 0.91, symmetric 40 %"
    assert dict(cell.facts) == {
        "λ": "1.2345678901",
        "α": "0.91",
        "Origin": "tuned (search on symmetric-0.4)",
        "Trials": "2",
        "Device": "cpu, torch 2.6.0",
        "Commit": "0123abc",
        "Data, SHA-256": runs[0].data_sha256[:12],
    }
    assert cell.differing == ()
    assert cell.kinds == (
        *("last epoch", "mean of last 3 epochs"),
        "epoch chosen by noisy validation",
    )
    run, recorded = cell.runs[1], {each.digest: each for each in runs}[cell.runs[1].digest]
    assert (run.seed, run.status) == (1, "finished")
    assert run.accuracies == pytest.approx([90.4, (88.4 + 91.4 + 90.4) / 3, 91.4])
    assert run.labels_sha256 == recorded.labels_sha256
    assert run.command.endswith("--set alpha=0.91 --method nal --seed 1 --home again")
    assert cell.plot is not None
    assert list(cell.plot.lines) == [0, 1, 2]


def test_the_mean_of_the_last_epoch_alone_is_no_further_accuracy_of_a_run() -> None:
    protocols: dict[str, dict[str, str | int]] = {
        "symmetric-0.4": {"protocol": "held-out-mean", "window": 1}
    }
    plan = small_plan([make_cell("ce", seeds=(0,))], searches=[], protocols=protocols)
    runs = [
        replace(run, metrics={**run.metrics, TEST_MEAN_LAST: run.metrics[TEST_LAST]})
        for run in page_runs(plan)
    ]
    (cell,) = page_of(plan, runs).cells
    assert cell.kinds == ("last epoch", "epoch chosen by noisy validation")


def test_runs_that_failed_or_are_missing_are_listed() -> None:
    plan = small_plan([make_cell("ce", seeds=(0, 1, 2, 3))], searches=[])
    specs = cell_specs("ce", "symmetric-0.4", (0, 1, 2), {})
    results = [make_result(specs[0], diverged_at=2), make_result(specs[1]), make_result(specs[2])]
    runs = recorded_runs(results)
    runs[2] = replace(runs[2], converged=False)
    (cell,) = page_of(plan, runs).cells
    assert [run.status for run in cell.runs] == [
        *("diverged", "finished", "finished, not converged", "not recorded yet"),
    ]
    assert cell.runs[3].accuracies == (None, None, None)
    assert [run.command for run in cell.runs] == [""] * 4


def test_circumstances_in_which_runs_differ_are_told_of_each() -> None:
    plan = small_plan([make_cell("ce", seeds=(0, 1, 2))], searches=[])
    runs = page_runs(plan)[:2]
    runs[1] = replace(runs[1], commit="4567def, with uncommitted changes")
    (cell,) = page_of(plan, runs).cells
    assert cell.differing == ("Commit",)
    assert "Commit" not in dict(cell.facts)
    assert [run.circumstances.get("Commit", "") for run in cell.runs] == [
        *("0123abc", "4567def, with uncommitted changes", ""),
    ]


def test_searches_show_values_and_held_out_accuracies() -> None:
    plan = small_plan()
    (search,) = page_of(plan, page_runs(plan)).searches
    assert search.title == "NAL on symmetric-0.4"
    assert dict(search.facts) == {
        "Searched": "λ in [0.05, 20], log; α in [0.5, 0.99]",
        "Trials": "2 of 3 on symmetric-0.4",
        "Reference": "λ = 0.5, α = 0.9 (paper, section 5.2)",
        "Chosen": "λ = 1.235, α = 0.91",
        "Used on": "symmetric-0.4",
    }
    (candidate,) = search.candidates
    assert (candidate.is_chosen, candidate.n, candidate.values) == (True, 3, "λ = 1.235, α = 0.91")
    first, second = search.trials
    assert second.mean == pytest.approx(0.4 + (first.mean or 0))
    assert candidate.mean == pytest.approx(second.mean)
    assert candidate.accuracy == f"{candidate.mean:.2f} ± 0.40"
    assert (first.name, first.n, first.is_chosen) == ("trial 1", 1, False)


def test_a_trial_that_was_stopped_early_has_no_accuracy_on_the_page() -> None:
    plan = small_plan()
    stopped = replace(plan.searches[0], stopped=[StoppedTrialRecord(1, 1, 20)])
    (search,) = page_of(replace(plan, searches=[stopped]), page_runs(plan)).searches
    first, second = search.trials
    assert (first.n, second.n, second.mean) == (1, 0, None)
    assert (second.name, second.accuracy) == ("trial 2", "stopped after epoch 20")


def test_the_plan_is_told_in_short() -> None:
    facts = dict(page_of(small_plan(), page_runs(small_plan())).facts)
    assert facts["Dataset"] == "digits: 1,437 training and 360 test samples, 10 classes"
    assert (facts["Seeds"], facts["Label noise"]) == ("0, 1, 2", "symmetric 40 %")
    assert "Held fixed" not in facts


def test_cells_know_their_published_accuracies() -> None:
    plan = judged_plan()
    page = page_of(plan, page_runs(plan))
    reference, ce, _ = page.cells
    assert len(page.replications) == sum(len(cell.replications) for cell in page.cells)
    assert {replication.values for replication in reference.replications} == {"λ = 0.5, α = 0.9"}
    assert {replication.method for replication in ce.replications} == {"Cross Entropy"}
