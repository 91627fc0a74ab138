"""Figure 4 a to d of the NAL paper: attention and corrected labels by class, and their accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reports.figures.lines import BAND_NOTE, Line, LinePanel, line_rows, seeds_text
from reports.figures.series import diagnostic_band, require_true_labels
from reports.figures.source import NAL, MissingDataError, cell_label
from reports.figures.style import numbered_role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from reports.figures.lines import CsvRow
    from reports.figures.source import FigureSource
    from trainables.diagnostics.store import Diagnostics

MATRIX_TITLES = {
    "attention": "mean attention weight τ",
    "noisy": "noisy labels",
    "corrected": "corrected labels",
}
"""Titles of the three matrices by their names in `diagnostics.npz`."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Attention weights, noisy and corrected labels by class, and the accuracy of correction.

    Attributes:
        matrices: matrices of shape (K, K) by name, see `MATRIX_TITLES`; rows are true classes.
            "noisy" and "corrected" contain fractions of the samples of the true class; entries of
            "attention" without samples are NaN.
        accuracy: panel with the accuracy of the corrected labels on each scenario.
        caption: what the figure shows.
    """

    matrices: dict[str, tuple[tuple[float, ...], ...]]
    accuracy: LinePanel
    caption: str

    def rows(self) -> Iterator[CsvRow]:
        """Yield the lines of the CSV file: entries of the matrices, then the lines."""
        columns = ("panel", "quantity", "line", "epoch", "mean", "std", "n")
        empty: CsvRow = dict.fromkeys((*columns, "true_class", "class", "value"), "")
        for name, matrix in self.matrices.items():
            for i, row in enumerate(matrix):
                for j, value in enumerate(row):
                    entry = {"true_class": i, "class": j, "value": value}
                    yield empty | {"panel": MATRIX_TITLES[name]} | entry
        for line_row in line_rows([self.accuracy]):
            yield empty | line_row


def collect_correction(source: FigureSource) -> Correction:
    """Compute Fig. 4 a to c on one scenario, and Fig. 4 d on every scenario that has the data.

    Raises:
        MissingDataError: if the diagnostics of NAL are missing, or true labels are unknown.
    """
    scenario = source.single_scenario
    cell = source.require_cell(NAL, scenario)
    diagnostics = source.load_diagnostics(cell)
    require_true_labels(diagnostics, cell)
    matrices = pooled_matrices(diagnostics)
    if "corrected" not in matrices:
        raise MissingDataError(f"NAL estimates no targets on {scenario}, so that none is corrected")
    lines: list[Line] = []
    for name in source.scenarios:
        try:
            scenario_cell = source.require_cell(NAL, name)
            items = diagnostics if name == scenario else source.load_diagnostics(scenario_cell)
        except MissingDataError:
            continue
        band = diagnostic_band(items, "correction/accuracy", scale=100)
        if band.x:
            lines.append(Line(scenario_cell.scenario_title, numbered_role(len(lines)), band))
    counts = [n for line in lines for n in line.band.n]
    return Correction(
        {name: tuple(map(tuple, matrix.tolist())) for name, matrix in matrices.items()},
        LinePanel("accuracy of corrected labels", "correct labels (%)", tuple(lines)),
        f"{cell_label(cell)} on {source.plan.dataset.title}. (a) to (c): "
        f"{source.scenario_title(scenario)} label noise, last epoch, samples of "
        f"{seeds_text([len(diagnostics)])} seeds together; rows of (b) and (c) add up to 1. (d): "
        f"share of training samples whose corrected label is the true class. {BAND_NOTE}, "
        f"{seeds_text(counts)}.",
    )


def pooled_matrices(diagnostics: Sequence[Diagnostics]) -> dict[str, NDArray[np.float64]]:
    """Return the matrices of the samples of all runs together; see `Correction.matrices`.

    Args:
        diagnostics: diagnostics of the runs, one for each seed.
    """
    noisy = sum_of(diagnostics, "noisy")
    matrices = {"noisy": _row_fractions(noisy)}
    if all("matrix/attention" in item for item in diagnostics):
        # A mean of a run without samples is NaN and has no weight.
        sums = np.sum(
            [
                np.nan_to_num(item.floats("matrix/attention")) * item.floats("matrix/noisy")
                for item in diagnostics
            ],
            axis=0,
        )
        attention = np.full_like(noisy, np.nan)
        np.divide(sums, noisy, out=attention, where=noisy > 0)
        matrices = {"attention": attention, **matrices}
    if all("matrix/corrected" in item for item in diagnostics):
        matrices["corrected"] = _row_fractions(sum_of(diagnostics, "corrected"))
    return matrices


def sum_of(diagnostics: Sequence[Diagnostics], name: str) -> NDArray[np.float64]:
    """Return the sum of a matrix of counts over the runs."""
    total: NDArray[np.float64] = np.sum([item.floats(f"matrix/{name}") for item in diagnostics], 0)
    return total


def _row_fractions(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide each row of counts by its sum; rows without samples become 0."""
    sums = counts.sum(axis=1, keepdims=True)
    fractions = np.zeros_like(counts)
    np.divide(counts, sums, out=fractions, where=sums > 0)
    return fractions
