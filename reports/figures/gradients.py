"""Figure 3 of the NAL paper: the parts of clean and mislabelled samples in the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.figures.lines import BAND_NOTE, Band, Line, LinePanel, line_rows, seeds_text
from reports.figures.series import require_true_labels
from reports.figures.source import CROSS_ENTROPY, NAL, MissingDataError, cell_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from reports.figures.lines import CsvRow
    from reports.figures.source import FigureSource
    from trainables.diagnostics.store import Diagnostics

GROUPS = ("clean", "mislabelled")


@dataclass(frozen=True, slots=True)
class Gradients:
    """Parts of clean and mislabelled samples in the size of the gradient, over the epochs.

    Attributes:
        panels: both parts under cross entropy, both parts under NAL, and the share of mislabelled
            samples under both methods.
        noise_rate: fraction of mislabelled training samples, mean over the seeds.
        caption: what the figure shows.
    """

    panels: tuple[LinePanel, ...]
    noise_rate: float
    caption: str

    def rows(self) -> Iterator[CsvRow]:
        """Yield the lines of the CSV file."""
        return line_rows(self.panels)


def collect_gradients(source: FigureSource) -> Gradients:
    """Compute Fig. 3 from the diagnostics of cross entropy and NAL on one scenario.

    Raises:
        MissingDataError: if a cell or its diagnostics are missing, or true labels are unknown, or
            no label is wrong.
    """
    scenario = source.single_scenario
    cells = [source.require_cell(method, scenario) for method in (CROSS_ENTROPY, NAL)]
    panels, share_lines, rates = [], [], []
    for cell in cells:
        diagnostics = source.load_diagnostics(cell)
        require_true_labels(diagnostics, cell)
        parts = [gradient_parts(item) for item in diagnostics]
        if not all("mislabelled" in part for part in parts):
            raise MissingDataError(f"no label is wrong on {scenario}: choose another scenario")
        rates += [
            float((item.integers("given") != item.integers("true")).mean()) for item in diagnostics
        ]
        epochs = [item.integers("epochs").tolist() for item in diagnostics]
        lines = [
            Line(f"{group} samples", group, _band(epochs, [part[group] for part in parts]))
            for group in GROUPS
        ]
        panels.append(LinePanel(cell.method_title, "mean gradient norm", tuple(lines)))
        shares = [
            100 * part["mislabelled"] / (part["clean"] + part["mislabelled"]) for part in parts
        ]
        share_lines.append(Line(cell.method_title, cell.method, _band(epochs, shares)))
    share_panel = LinePanel("mislabelled samples", "share of gradient norm (%)", tuple(share_lines))
    counts = [n for panel in panels for line in panel.lines for n in line.band.n]
    return Gradients(
        (*panels, share_panel),
        sum(rates) / len(rates),
        f"Parts of clean and mislabelled samples in the mean L1 norm of the gradient of a sample's "
        f"loss with respect to its logits, on {source.plan.dataset.title} with "
        f"{source.scenario_title(scenario)} label noise: {' and '.join(map(cell_label, cells))}. "
        f"Dotted: the measured share of mislabelled samples. {BAND_NOTE}, {seeds_text(counts)}.",
    )


def gradient_parts(diagnostics: Diagnostics) -> dict[str, NDArray[np.float64]]:
    """Return the part of each group of samples in the mean gradient norm, shape (epochs,).

    The part of a group is the sum of the L1 norms of its samples' gradients, divided by the number
    of all training samples; the parts add up to the mean norm of all samples. A group without
    samples is left out.
    """
    is_wrong = diagnostics.integers("given") != diagnostics.integers("true")
    fractions = {"clean": float((~is_wrong).mean()), "mislabelled": float(is_wrong.mean())}
    return {
        group: fraction * diagnostics.floats(f"series/gradient/{group}")
        for group, fraction in fractions.items()
        if fraction
    }


def _band(epochs: Sequence[Sequence[float]], values: Sequence[NDArray[np.float64]]) -> Band:
    """Summarise one series of values by epoch for each seed."""
    return Band.over_seeds(
        dict(zip(seed_epochs, seed_values.tolist(), strict=True))
        for seed_epochs, seed_values in zip(epochs, values, strict=True)
    )
