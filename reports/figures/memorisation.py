"""Figure 1 of the NAL paper: which labels the network predicts for its training samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reports.figures.lines import BAND_NOTE, Band, Line, LinePanel, line_rows, seeds_text
from reports.figures.series import diagnostic_band, require_true_labels
from reports.figures.source import CROSS_ENTROPY, NAL, cell_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.figures.lines import CsvRow
    from reports.figures.source import FigureSource
    from trainables.diagnostics.store import Diagnostics

Y_LABEL = "share of samples (%)"


@dataclass(frozen=True, slots=True)
class Memorisation:
    """Shares of training samples by what is predicted for them, over the epochs.

    Attributes:
        panels: clean and mislabelled samples under cross entropy, then the same under NAL.
        caption: what the figure shows.
    """

    panels: tuple[LinePanel, ...]
    caption: str

    def rows(self) -> Iterator[CsvRow]:
        """Yield the lines of the CSV file."""
        return line_rows(self.panels)


def collect_memorisation(source: FigureSource) -> Memorisation:
    """Compute Fig. 1 from the diagnostics of cross entropy and NAL on one scenario.

    Raises:
        MissingDataError: if a cell or its diagnostics are missing, or true labels are unknown.
    """
    scenario = source.single_scenario
    panels: list[LinePanel] = []
    for method in (CROSS_ENTROPY, NAL):
        cell = source.require_cell(method, scenario)
        diagnostics = source.load_diagnostics(cell)
        require_true_labels(diagnostics, cell)
        panels += memorisation_panels(diagnostics, cell.method_title)
    labels = [cell_label(source.require_cell(method, scenario)) for method in (CROSS_ENTROPY, NAL)]
    counts = [n for panel in panels for line in panel.lines for n in line.band.n]
    return Memorisation(
        tuple(panels),
        f"Predictions for the training samples on {source.plan.dataset.title} with "
        f"{source.scenario_title(scenario)} label noise: {' and '.join(labels)}. Memorised: the "
        f"wrong label is predicted. {BAND_NOTE}, {seeds_text(counts)}.",
    )


def memorisation_panels(diagnostics: Sequence[Diagnostics], method_title: str) -> list[LinePanel]:
    """Return the panels of clean and of mislabelled samples of one method, without empty ones.

    Args:
        diagnostics: diagnostics of the runs, one for each seed.
        method_title: title of the method.
    """
    correct = diagnostic_band(diagnostics, "clean/correct", scale=100)
    mislabelled = {
        role: diagnostic_band(diagnostics, f"mislabelled/{role}", scale=100)
        for role in ("correct", "memorised", "other")
    }
    wrong = Band(correct.x, tuple(100 - np.array(correct.mean)), correct.std, correct.n)
    labels = {"correct": "true class", "memorised": "memorised", "other": "another class"}
    panels = [
        LinePanel(
            f"{method_title}, clean samples",
            Y_LABEL,
            (Line("another class", "other", wrong), Line("true class", "correct", correct)),
        ),
        LinePanel(
            f"{method_title}, mislabelled samples",
            Y_LABEL,
            tuple(Line(labels[role], role, band) for role, band in mislabelled.items()),
        ),
    ]
    return [panel for panel in panels if any(line.band.x for line in panel.lines)]
