"""Drawing of Fig. 4 a to d: three matrices of classes, and the accuracy of corrected labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reports.figures.attention import HIGH_TAU
from reports.figures.correction import MATRIX_TITLES
from reports.figures.drawings.panels import add_title, draw_panel, new_figure
from reports.figures.style import COLOUR_MAP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from reports.figures.correction import Correction

MAX_LABELLED_CLASSES = 10
"""Largest number of classes with which the entries of matrices are printed."""

COLUMN_TITLES = {
    "attention": "noisy label",
    "noisy": "noisy label",
    "corrected": "corrected label",
}
"""Titles of the columns of the matrices."""


def draw_correction(data: Correction) -> Figure:
    """Draw the matrices and the accuracy of the corrected labels in two rows."""
    figure, axes = new_figure(4.75, 2, 2)
    for number, (name, matrix) in enumerate(data.matrices.items()):
        values, title = np.array(matrix), MATRIX_TITLES[name]
        if name == "attention" and np.nanmin(values) > HIGH_TAU:
            # All weights are close to 1, so that only their distances from 1 differ.
            # The smallest distance from 1 that the recorded numbers have is 6e-8.
            _draw_matrix(axes[number], np.log10((1 - values).clip(6e-8)), in_unit_range=False)
            title = "log10(1 − mean τ)"
        else:
            _draw_matrix(axes[number], values)
        axes[number].set_xlabel(COLUMN_TITLES[name])
        axes[number].set_ylabel("true class")
        add_title(axes[number], number, title)
    curves = axes[len(data.matrices)]
    draw_panel(curves, data.accuracy)
    curves.margins(y=0.08)
    curves.legend(loc="best", labelspacing=0.3)
    add_title(curves, len(data.matrices), data.accuracy.title)
    return figure


def _draw_matrix(axes: Axes, values: NDArray[np.float64], *, in_unit_range: bool = True) -> None:
    """Draw a matrix of numbers; with few classes, the entries are printed as well.

    Args:
        axes: panel.
        values: matrix of shape (K, K).
        in_unit_range: whether the colours range from 0 to 1; else they have the range of the
            numbers, and the lowest number is the lightest.
    """
    low, high = (0.0, 1.0) if in_unit_range else (np.nanmin(values), np.nanmax(values))
    colour_map = COLOUR_MAP if in_unit_range else f"{COLOUR_MAP}_r"
    image = axes.imshow(values, cmap=colour_map, vmin=low, vmax=high, interpolation="nearest")
    axes.spines[["top", "right"]].set_visible(True)
    figure = axes.get_figure()
    assert figure is not None  # noqa: S101 - panels belong to a figure
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.outline.set_linewidth(0.6)
    if in_unit_range:
        bar.set_ticks([0, 0.5, 1])
    if len(values) > MAX_LABELLED_CLASSES:
        return
    axes.set_xticks(range(len(values)))
    axes.set_yticks(range(len(values)))
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if not np.isnan(value):
                share = (value - low) / max(high - low, 1e-9)
                is_light = (share > 0.5) == in_unit_range
                text = entry_text(value) if in_unit_range else f"{value:.1f}".replace("-", "−")
                axes.text(
                    j,
                    i,
                    text,
                    ha="center",
                    va="center",
                    fontsize=5.5,
                    color="black" if is_light else "white",
                )


def entry_text(value: float) -> str:
    """Return an entry of a matrix with two decimals, such as ".07", "0" and "1"."""
    text = f"{value:.2f}"
    return {"0.00": "0", "1.00": "1"}.get(text, text.removeprefix("0"))
