"""Cells, runs, trials, curves and comparisons of a sweep as frames of pandas.

Columns with a slash, such as "test/accuracy_last", have the names and the values of MLflow, in
which accuracies are fractions. All other accuracies and differences are in percent or points, as in
tables.
"""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.aggregate import READING_TITLES, AccuracyKind, summarise_cells
from reports.comparison import measured_entry, measured_kinds
from reports.figures.response import trial_objective
from reports.figures.source import cell_label
from reports.trial_values import trial_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reports.aggregate import CellSummary
    from reports.pairs import RowPair
    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import Curve, RecordedRun, RecordedSweep
    from reports.replication import Replication

    Line = Mapping[str, Any]

SWEEPS = ("study", "sweep", "started")
"""Columns of the frame of sweeps."""

CELLS = (
    *("row", "method", "scenario", "origin", "recipe", "trials", "accuracy", "metric"),
    *("mean", "sd", "n", "planned", "diverged", "out_of_memory", "not_converged"),
)
"""Columns of the frame of cells; hyperparameters, such as "hp/lambda", follow."""

RUNS = (
    *("digest", "phase", "method", "scenario", "seed", "status", "converged"),
    *("epochs", "device", "commit"),
)
"""Columns of the frame of runs; the last value of each metric follows."""

TRIALS = ("method", "scenario", "trial", "digest", "status", "objective", "chosen")
"""Columns of the frame of trials; the searched hyperparameters follow."""

CURVES = ("row", "method", "scenario", "origin", "seed", "digest", "epoch", "value")
"""Columns of the frame of curves."""

PAIRS = (
    *("scenario", "accuracy", "first", "second", "n", "difference", "sd", "low", "high"),
    *("p", "p_holm", "p_wilcoxon", "p_better", "p_equivalent", "p_worse", "result"),
)
"""Columns of the frame of pairs."""

VERDICTS = (
    *("method", "values", "scenario", "accuracy", "measured", "published", "source"),
    *("verdict", "difference", "low", "high", "reason", "caveat"),
)
"""Columns of the frame of verdicts."""


def sweeps_frame(sweeps: Iterable[RecordedSweep]) -> pd.DataFrame:
    """Return one line for each recorded sweep."""
    frame = _frame([(each.study, each.digest, each.started) for each in sweeps], SWEEPS)
    return frame.assign(started=pd.to_datetime(frame["started"], utc=True))


def cells_frame(plan: PlanRecord, runs: Sequence[RecordedRun]) -> pd.DataFrame:
    """Return one line for each cell and each kind of test accuracy that its table shows.

    Raises:
        RecordError: if the runs cannot be compared; see `summarise_cells`.
    """
    summaries = summarise_cells(plan, runs)
    kinds = measured_kinds(plan, summaries) if summaries else []
    return _named_frame(
        [
            _cell_line(summary, kind)
            for summary in summaries
            for kind in (*kinds, *_own_kind(summary, kinds))
        ],
        CELLS,
    )


def _own_kind(summary: CellSummary, kinds: Iterable[AccuracyKind]) -> Iterator[AccuracyKind]:
    """Yield the accuracy that a published recipe reports, if it is not among the other kinds."""
    reading = summary.cell.reading
    if reading and reading not in {kind.metric for kind in kinds}:
        yield AccuracyKind(reading, READING_TITLES[reading])


def _cell_line(summary: CellSummary, kind: AccuracyKind) -> Line:
    cell = summary.cell
    entry = measured_entry(summary, kind.metric, kind.title)
    return {
        "row": cell_label(cell),
        "method": cell.method,
        "scenario": cell.scenario,
        "origin": cell.origin,
        "recipe": cell.recipe,
        "trials": cell.trials,
        "accuracy": kind.title,
        "metric": kind.metric,
        "mean": _number(entry.mean),
        "sd": _number(entry.std),
        "n": entry.n,
        "planned": summary.planned_count,
        "diverged": summary.diverged_count,
        "out_of_memory": summary.out_of_memory_count,
        "not_converged": summary.not_converged_count,
        **{f"hp/{name}": value for name, value in cell.values.items()},
    }


def runs_frame(plan: PlanRecord, runs: Sequence[RecordedRun]) -> pd.DataFrame:
    """Return one line for each recorded run, in the order of the plan, those of its table first."""
    recorded_runs = {run.digest: run for run in runs}
    phases: dict[str, list[str]] = {}
    owners: dict[str, tuple[str, str]] = {}
    for digest, phase, method, scenario in _places(plan):
        phases.setdefault(digest, []).append(phase)
        owners.setdefault(digest, (method, scenario))
    lines = []
    for digest, (method, scenario) in owners.items():
        run = recorded_runs.get(digest)
        if run is None:
            continue
        lines.append(
            {
                **run.metrics,
                "digest": digest,
                "phase": ", ".join(dict.fromkeys(phases[digest])),
                "method": method,
                "scenario": scenario,
                "seed": int(run.params["seed"]),
                "status": run.status,
                "converged": run.converged,
                "epochs": run.epochs,
                "device": run.provenance["device"],
                "commit": run.commit,
            }
        )
    metrics = {name for run in runs for name in run.metrics}
    diagnostics_last = sorted(metrics, key=lambda name: (name.startswith("diagnostics/"), name))
    return _named_frame(lines, [*RUNS, *diagnostics_last])


def _places(plan: PlanRecord) -> Iterator[tuple[str, str, str, str]]:
    """Yield digest, phase, method and scenario of all runs of a plan; some runs occur twice."""
    for cell in plan.cells:
        yield from ((each, "confirm", cell.method, cell.scenario) for each in cell.digests)
    for cell in plan.cells:
        crossed = cell.crossed.digests if cell.crossed else []
        yield from ((each, "cross", cell.method, cell.scenario) for each in crossed)
    for search in plan.searches:
        for candidate in search.candidates:
            for digest in candidate.digests:
                yield digest, "select", search.method, search.scenario
    for search in plan.searches:
        yield from ((each, "search", search.method, search.scenario) for each in search.digests)


def trials_frame(plan: PlanRecord, runs: Sequence[RecordedRun]) -> pd.DataFrame:
    """Return one line for each recorded trial, with the held-out accuracy that chose among them."""
    recorded_runs = {run.digest: run for run in runs}
    return _named_frame(
        [
            {
                "method": search.method,
                "scenario": search.scenario,
                "trial": number,
                "digest": digest,
                "status": run.status,
                "objective": _number(trial_objective(run, plan)),
                "chosen": values == search.chosen,
                **{f"hp/{name}": values.get(name, nan) for name in search.space},
            }
            for search in plan.searches
            for number, digest in enumerate(search.digests, start=1)
            if (run := recorded_runs.get(digest)) is not None
            for values in [trial_values(run, search.space)]
        ],
        TRIALS,
    )


def curves_frame(cells: Sequence[CellRecord], curves: Mapping[str, Curve]) -> pd.DataFrame:
    """Return one line for each run of cells and each epoch.

    Args:
        cells: cells of a plan.
        curves: values of a metric by the digest of the run.
    """
    return _frame(
        [
            (
                *(cell_label(cell), cell.method, cell.scenario, cell.origin),
                *(seed, digest, epoch, value),
            )
            for cell in cells
            for seed, digest in zip(cell.seeds, cell.digests, strict=True)
            for epoch, value in curves.get(digest, ())
        ],
        CURVES,
    )


def pairs_frame(pairs: Iterable[RowPair]) -> pd.DataFrame:
    """Return one line for each pair of rows."""
    return _frame(
        [
            (
                *(pair.scenario, pair.kind, pair.first, pair.second),
                *(comparison.n, comparison.mean, comparison.std, comparison.low, comparison.high),
                *(comparison.t_p, pair.holm_p, comparison.wilcoxon_p),
                *(comparison.p_better, comparison.p_equivalent, comparison.p_worse),
                pair.summary,
            )
            for pair in pairs
            for comparison in [pair.comparison]
        ],
        PAIRS,
    )


def verdicts_frame(replications: Iterable[Replication]) -> pd.DataFrame:
    """Return one line for each measured accuracy with a published one beside it."""
    return _frame(
        [
            (
                *(each.method, each.values, each.scenario, each.kind),
                *(each.measured, each.published, each.source, verdict.kind),
                *map(_number, (verdict.difference, verdict.low, verdict.high)),
                *(verdict.reason, verdict.caveat),
            )
            for each in replications
            for verdict in [each.verdict]
        ],
        VERDICTS,
    )


def _number(value: float | None) -> float:
    """Return a number, or NaN in the place of none."""
    return nan if value is None else value


def _frame(
    lines: Sequence[Sequence[object]] | Sequence[Line], columns: Sequence[str]
) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=list(columns))


def _named_frame(lines: Sequence[Line], columns: Sequence[str]) -> pd.DataFrame:
    """Return a frame with some columns, followed by all others that lines have."""
    others = [name for line in lines for name in line]
    return _frame(lines, list(dict.fromkeys([*columns, *others])))
