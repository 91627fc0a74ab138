"""Sources of figures with hand-made numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from factories import make_cell, make_plan, make_result, make_spec
from recorded import recorded_runs

from reports.figures.source import FigureSource
from trainables.diagnostics import reduce
from trainables.diagnostics.store import DIAGNOSTICS_FILE, Diagnostics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reports.plan_record import CellRecord
    from reports.read import RecordedRun

EPOCHS = (1, 3, 6)
TRUE = [0, 0, 0, 0, 1, 1, 1, 1]
GIVEN = [0, 0, 0, 1, 1, 1, 0, 0]
"""Noisy labels, of which 3 of 8 are wrong."""


def make_diagnostics(
    shift: float = 0.0, arrays: Mapping[str, Any] | None = None, **more: Any
) -> Diagnostics:
    """Return diagnostics of 8 samples of 2 classes.

    Args:
        shift: number that is added to the fractions of series.
        arrays: changed arrays by name; None for an array that is missing.
        more: more of them.
    """
    true, given = np.array(TRUE), np.array(GIVEN)
    is_wrong = true != given
    logits = np.where(is_wrong, -2.0, 2.0) + np.linspace(0, 0.7, 8)
    tau = reduce.attention_weight(logits)
    masks = (~is_wrong, is_wrong)
    attention = [[tau[(true == i) & (given == j)].mean() for j in range(2)] for i in range(2)]
    values: dict[str, Any] = {
        "epochs": EPOCHS,
        "true": true,
        "given": given,
        "last_attention": logits,
        "histogram": [[np.histogram(tau[mask], reduce.TAU_BIN_EDGES)[0] for mask in masks]],
        "log_histogram": [
            [
                np.histogram(reduce.log10_complement(logits[m]), reduce.LOG_COMPLEMENT_BIN_EDGES)[0]
                for m in masks
            ]
        ],
        "matrix/noisy": [[3, 1], [2, 2]],
        "matrix/corrected": [[4, 0], [1, 3]],
        "matrix/attention": attention,
        "series/clean/correct": np.array([0.5, 0.75, 0.9]) + shift,
        "series/mislabelled/correct": np.array([0.5, 0.25, 0.0]) + shift,
        "series/mislabelled/memorised": np.array([0.25, 0.5, 0.75]) - shift,
        "series/mislabelled/other": np.array([0.25, 0.25, 0.25]),
        "series/gradient/clean": np.array([1.6, 0.8, 0.4]),
        "series/gradient/mislabelled": np.array([1.6, 1.6, 2.0]),
        "series/correction/accuracy": np.array([0.625, 0.75, 0.875]) + shift,
    }
    values |= {**(arrays or {}), **more}
    return Diagnostics(
        {name: np.array(value) for name, value in values.items() if value is not None}
    )


def make_source(
    cells: Sequence[CellRecord],
    home: Path,
    histories: Mapping[str, dict[int, float]] | None = None,
    accuracy: float = 0.9,
    scenario: str | None = None,
    **plan: Any,
) -> FigureSource:
    """Return a source whose planned runs have all finished.

    Args:
        cells: cells of the plan.
        home: home folder.
        histories: history of every metric by the digest of a run.
        accuracy: accuracy of all runs in the last epoch.
        scenario: scenario that the user has chosen.
        plan: changes of the plan.
    """
    results = [
        make_result(
            make_spec(seed=seed, method=cell.method, scenario=cell.scenario, values=cell.values),
            accuracy=accuracy,
        )
        for cell in cells
        for seed in cell.seeds
    ]

    def read_histories(runs: Sequence[RecordedRun], metric: str) -> list[dict[int, float]]:
        assert metric == "test/accuracy"
        return [(histories or {}).get(run.digest, {}) for run in runs]

    return FigureSource(
        plan=make_plan(cells, **plan),
        runs={run.digest: run for run in recorded_runs(results)},
        home=home,
        read_histories=read_histories,
        scenario=scenario,
    )


def write_diagnostics(home: Path, cell: CellRecord, shifts: Sequence[float]) -> None:
    """Write `make_diagnostics` for the runs of a cell, one shift for each seed."""
    for digest, shift in zip(cell.digests, shifts, strict=True):
        folder = home / "runs" / digest
        folder.mkdir(parents=True)
        arrays: dict[str, Any] = dict(make_diagnostics(shift).arrays)
        np.savez(folder / DIAGNOSTICS_FILE, **arrays)


def paper_source(home: Path, **plan: Any) -> FigureSource:
    """Return a source of cross entropy and NAL with diagnostics of two seeds."""
    cells = [make_cell("ce", seeds=(0, 1)), make_cell("nal", seeds=(0, 1))]
    for cell in cells:
        write_diagnostics(home, cell, (0.0, 0.1))
    histories = {digest: {1: 0.5, 6: 0.8} for cell in cells for digest in cell.digests}
    return make_source(cells, home, histories, **plan)
