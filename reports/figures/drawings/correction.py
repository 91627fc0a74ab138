"""Drawing of Fig. 4 a to d: three matrices of classes, and the accuracy of corrected labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reports.figures.correction import MATRIX_TITLES
from reports.figures.drawings.panels import add_title, draw_panel, new_figure
from reports.figures.style import COLOUR_MAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        _draw_matrix(axes[number], matrix)
        axes[number].set_xlabel(COLUMN_TITLES[name])
        axes[number].set_ylabel("true class")
        add_title(axes[number], number, MATRIX_TITLES[name])
    curves = axes[len(data.matrices)]
    draw_panel(curves, data.accuracy)
    curves.margins(y=0.08)
    curves.legend(loc="best", labelspacing=0.3)
    add_title(curves, len(data.matrices), data.accuracy.title)
    return figure


def _draw_matrix(axes: Axes, matrix: Sequence[Sequence[float]]) -> None:
    """Draw a matrix of numbers in [0, 1]; with few classes, the entries are printed as well."""
    values = np.array(matrix)
    image = axes.imshow(values, cmap=COLOUR_MAP, vmin=0, vmax=1, interpolation="nearest")
    axes.spines[["top", "right"]].set_visible(True)
    figure = axes.get_figure()
    assert figure is not None  # noqa: S101 - panels belong to a figure
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.outline.set_linewidth(0.6)  # type: ignore[operator]
    bar.set_ticks([0, 0.5, 1])
    if len(values) > MAX_LABELLED_CLASSES:
        return
    axes.set_xticks(range(len(values)))
    axes.set_yticks(range(len(values)))
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if not np.isnan(value):
                colour = "black" if value > 0.6 else "white"
                axes.text(
                    j, i, entry_text(value), ha="center", va="center", fontsize=5.5, color=colour
                )


def entry_text(value: float) -> str:
    """Return an entry of a matrix with two decimals, such as ".07", "0" and "1"."""
    text = f"{value:.2f}"
    return {"0.00": "0", "1.00": "1"}.get(text, text.removeprefix("0"))
