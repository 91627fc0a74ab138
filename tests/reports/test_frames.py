"""Frames of pandas, compared with the table and the records that they are made from."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan, make_result, make_spec
from recorded import recorded_runs

from reports.comparison import comparison_table
from reports.frames import (
    CELLS,
    CURVES,
    PAIRS,
    RUNS,
    SWEEPS,
    TRIALS,
    VERDICTS,
    cells_frame,
    curves_frame,
    pairs_frame,
    runs_frame,
    sweeps_frame,
    trials_frame,
    verdicts_frame,
)
from reports.pairs import compare_rows
from reports.plan_record import CandidateRecord, StoppedTrialRecord, TuningRecord
from reports.replication import Replication
from reports.verdict import Verdict
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun

ACCURACIES = {"ce": [0.60, 0.64, 0.62], "nal": [0.91, 0.92, 0.96]}
VALUES = {"ce": {}, "nal": {"lambda": 0.5, "alpha": 0.9}}
CELL_RECORDS = [make_cell("ce"), make_cell("nal", origin="tuned", trials=2)]


def runs_of(cell: CellRecord, accuracies: list[float]) -> list[RecordedRun]:
    specs = cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    return recorded_runs(
        make_result(spec, accuracy=accuracy)
        for spec, accuracy in zip(specs, accuracies, strict=False)
    )


def with_settings(run: RecordedRun, phase_seed: int, values: dict[str, float]) -> RecordedRun:
    """Return a run with the metrics that only stores have."""
    settings = {f"hp/{name}": value for name, value in values.items()}
    return replace(run, metrics={**run.metrics, "seed": float(phase_seed), **settings})


@pytest.fixture(scope="module")
def sweep() -> tuple[PlanRecord, list[RecordedRun]]:
    """A sweep with a missing run, a diverged trial, and a candidate's run that confirms too."""
    trials = [make_spec(seed=1000, values={"lambda": each, "alpha": 0.9}) for each in (0.5, 5.0)]
    search = TuningRecord(
        method="nal",
        method_title="NAL",
        scenario="symmetric-0.4",
        serves=["symmetric-0.4"],
        space={"lambda": Space(0.05, 20, log=True), "alpha": Space(0.5, 0.99)},
        trials=2,
        digests=[spec.digest for spec in trials],
        candidates=[CandidateRecord({"lambda": 0.5}, "search", CELL_RECORDS[1].digests[:1])],
        chosen={"lambda": 0.5, "alpha": 0.9},
    )
    runs = [
        with_settings(run, seed, VALUES[cell.method])
        for cell in CELL_RECORDS
        for seed, run in enumerate(runs_of(cell, ACCURACIES[cell.method]))
    ]
    first, second = recorded_runs(
        [make_result(trials[0], accuracy=0.55), make_result(trials[1], diverged_at=2)]
    )
    runs += [
        with_settings(first, 1000, {"lambda": 0.5, "alpha": 0.9}),
        with_settings(second, 1000, {"lambda": 5.0, "alpha": 0.9}),
    ]
    del runs[2]  # of cross entropy
    return make_plan(CELL_RECORDS, searches=[search]), runs


def test_cells_have_the_numbers_of_the_table(
    sweep: tuple[PlanRecord, list[RecordedRun]],
) -> None:
    cells = cells_frame(*sweep)
    assert list(cells.columns) == [*CELLS, "hp/lambda", "hp/alpha"]
    entries = [
        (row.name, entry.kind, entry.n, entry.mean, entry.std)
        for row in comparison_table(*sweep).sections[0].rows
        if row.kind == "measured"
        for entry in row.entries
    ]
    columns = ["row", "accuracy", "n", "mean", "sd"]
    assert list(cells[columns].itertuples(index=False, name=None)) == entries
    last = cells[cells["accuracy"] == "last epoch"].to_dict("records")
    cross_entropy, nal = last
    assert (nal["mean"], nal["sd"]) == pytest.approx((93.0, 2.6457513))
    assert (nal["hp/lambda"], nal["origin"], nal["trials"]) == (0.5, "tuned", 2)
    assert (cross_entropy["mean"], cross_entropy["sd"]) == pytest.approx((62.0, 2.8284271))
    assert (cross_entropy["n"], cross_entropy["planned"]) == (2, 3)
    assert isnan(cross_entropy["hp/lambda"])


def test_a_recipe_that_reports_another_epoch_has_a_line_for_it() -> None:
    metric = "test/accuracy_best_clean_val"
    cell = make_cell("ce", recipe="published", reading=metric)
    runs = [
        replace(run, metrics={**run.metrics, metric: 0.7})
        for run in runs_of(cell, ACCURACIES["ce"])
    ]
    cells = cells_frame(make_plan([cell]), runs).set_index("metric")
    assert cells.loc[metric, "accuracy"] == "epoch chosen by clean validation"
    assert cells.loc[metric, "mean"] == pytest.approx(70.0)


def test_every_recorded_run_has_one_line(sweep: tuple[PlanRecord, list[RecordedRun]]) -> None:
    plan, runs = sweep
    frame = runs_frame(plan, runs)
    assert list(frame.columns[: len(RUNS)]) == list(RUNS)
    assert frame["digest"].tolist() == [run.digest for run in runs]
    assert frame["phase"].tolist() == [
        *("confirm", "confirm", "confirm, select", "confirm", "confirm", "search", "search")
    ]
    assert frame["seed"].tolist() == [0, 1, 0, 1, 2, 1000, 1000]
    assert frame["seed"].dtype.kind == "i"
    assert frame["test/accuracy_last"].tolist()[:5] == [0.6, 0.64, 0.91, 0.92, 0.96]
    assert frame["status"].tolist()[-2:] == ["finished", "diverged"]
    assert frame["hp/lambda"].tolist()[2:] == [0.5, 0.5, 0.5, 0.5, 5.0]


def test_trials_have_the_objective_and_the_searched_values(
    sweep: tuple[PlanRecord, list[RecordedRun]],
) -> None:
    trials = trials_frame(*sweep)
    assert list(trials.columns) == [*TRIALS, "hp/lambda", "hp/alpha"]
    assert trials["trial"].tolist() == [1, 2]
    # The mean over the last three epochs, and chance for the diverged trial.
    assert trials["objective"].tolist() == pytest.approx([54.6666667, 10.0])
    assert trials["chosen"].tolist() == [True, False]
    assert trials["hp/lambda"].tolist() == [0.5, 5.0]


def test_a_trial_that_was_stopped_early_has_no_objective(
    sweep: tuple[PlanRecord, list[RecordedRun]],
) -> None:
    plan, runs = sweep
    stopped = replace(plan.searches[0], stopped=[StoppedTrialRecord(0, 1, 20)])
    trials = trials_frame(replace(plan, searches=[stopped]), runs)
    assert trials["status"].tolist() == ["stopped", "diverged"]
    assert [isnan(objective) for objective in trials["objective"]] == [True, False]


def test_curves_have_one_line_for_each_run_and_epoch() -> None:
    (cell,) = CELL_RECORDS[:1]
    frame = curves_frame([cell], {cell.digests[1]: [(1, 0.5), (2, 0.75)], "other": [(1, 0.1)]})
    assert list(frame.columns) == list(CURVES)
    assert frame[["seed", "epoch", "value"]].to_numpy().tolist() == [[1, 1, 0.5], [1, 2, 0.75]]


def test_pairs_are_those_of_the_table(sweep: tuple[PlanRecord, list[RecordedRun]]) -> None:
    (pair,) = compare_rows(comparison_table(*sweep))
    (line,) = pairs_frame([pair]).to_dict("records")
    assert (line["first"], line["second"], line["n"]) == (
        "NAL, λ = 0.5, α = 0.9",
        "Cross Entropy",
        2,
    )
    assert line["difference"] == pytest.approx(29.5)
    assert (line["low"], line["high"]) == (pair.comparison.low, pair.comparison.high)
    assert (line["p_holm"], line["result"]) == (pair.holm_p, pair.summary)


def test_verdicts_have_nan_in_the_place_of_no_number() -> None:
    verdict = Verdict("not comparable", None, reason="other noise")
    replication = Replication("NAL", "", "sym", "last epoch", "–", "93.4", "Table 1", verdict)
    (line,) = verdicts_frame([replication]).to_dict("records")
    assert (line["verdict"], line["published"], line["reason"]) == (
        "not comparable",
        "93.4",
        "other noise",
    )
    assert isnan(line["difference"])


def test_frames_of_a_sweep_without_runs_have_their_columns() -> None:
    plan = make_plan()
    assert list(sweeps_frame([]).columns) == list(SWEEPS)
    assert list(cells_frame(plan, []).columns) == list(CELLS)
    assert list(runs_frame(plan, []).columns) == list(RUNS)
    assert list(trials_frame(plan, []).columns) == list(TRIALS)
    assert list(curves_frame([], {}).columns) == list(CURVES)
    assert list(pairs_frame([]).columns) == list(PAIRS)
    assert list(verdicts_frame([]).columns) == list(VERDICTS)
    assert cells_frame(make_plan([make_cell("ce")]), [])[["mean", "n"]].to_numpy().tolist() == [
        pytest.approx([nan, 0], nan_ok=True)
    ]
