"""Optimism of a search: the winner's held-out accuracy there and on fresh seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factories import make_cell, make_plan, make_result, make_spec
from recorded import recorded_runs

from reports.comparison import comparison_table
from reports.formats import table_values
from reports.plan_record import CandidateRecord, PlanRecord, TuningRecord
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from reports.table import Table
    from trainables.run.result import RunResult

WINNER: dict[str, bool | int | float | str] = {"lambda": 1.0, "alpha": 0.8}
OTHER: dict[str, bool | int | float | str] = {"lambda": 2.0, "alpha": 0.7}


def searched_plan() -> tuple[PlanRecord, list[RunResult]]:
    """Return a plan with a search, and its runs: trials, candidates and confirm."""
    trials = [
        make_result(make_spec(seed=1000, values=values, evaluate=("val",)), accuracy=accuracy)
        for values, accuracy in ((WINNER, 0.70), (OTHER, 0.60))
    ]
    selected = [
        make_result(make_spec(seed=seed, values=WINNER, evaluate=("val",)), accuracy=accuracy)
        for seed, accuracy in ((2000, 0.62), (2001, 0.66))
    ]
    cell = make_cell(values=WINNER, origin="tuned", trials=2, source="search", seeds=(0, 1, 2))
    confirmed = [
        make_result(make_spec(seed=seed, values=WINNER), accuracy=accuracy)
        for seed, accuracy in ((0, 0.60), (1, 0.62), (2, 0.64))
    ]
    search = TuningRecord(
        method="nal",
        method_title="NAL",
        scenario="symmetric-0.4",
        serves=["symmetric-0.4"],
        space={"alpha": Space(0.5, 0.99), "lambda": Space(0.05, 20, log=True)},
        trials=2,
        digests=[result.digest for result in trials],
        candidates=[CandidateRecord(WINNER, "search", [each.digest for each in selected])],
        chosen=WINNER,
        chosen_digests=[trials[0].digest],
    )
    return make_plan([cell], searches=[search]), [*trials, *selected, *confirmed]


def searched_table() -> Table:
    plan, results = searched_plan()
    return comparison_table(plan, recorded_runs(results))


def test_the_winner_is_followed_from_the_search_to_confirm() -> None:
    # The mean over the last three epochs is 0.01 / 3 below the last epoch: -0.02, +0.01, 0.
    (optimism,) = searched_table().optimism
    assert optimism.search is not None
    assert optimism.select is not None
    assert optimism.confirm is not None
    lower = 100 * 0.01 / 3
    assert round(optimism.search + lower, 6) == 70.0
    assert round(optimism.select + lower, 6) == 64.0
    assert round(optimism.confirm + lower, 6) == 62.0
    assert (optimism.trials, optimism.select_n, optimism.confirm_n) == (2, 2, 3)


def test_notes_and_json_state_it_with_its_resolution() -> None:
    table = searched_table()
    assert (
        "NAL: held-out accuracy (%) of the chosen values: 69.67 in the search, 63.67 on 2 new "
        "seeds of select, 61.67 on 3 seeds of confirm. Search and select have chosen these values, "
        "so that only confirm is free of luck. The held-out samples alone give one run a standard "
        "error of up to 2.37 points."
    ) in table.notes
    assert table_values(table)["optimism"][0]["standard_error"] == 2.37


def test_ranges_have_one_order_of_hyperparameters() -> None:
    (note,) = [note for note in searched_table().notes if " in [" in note]
    assert "(λ in [0.05, 20], log; α in [0.5, 0.99])" in note


def test_a_study_without_a_search_says_so() -> None:
    cell = make_cell("ce")
    table = comparison_table(make_plan([cell]), [])
    assert table.optimism == ()
    assert any(note.startswith("No hyperparameter was tuned in this sweep") for note in table.notes)
    assert not any("chosen by" in note for note in table.notes)
