"""Drawing of learning curves."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from reports.figures.drawings.panels import draw_panel, new_figure
from reports.figures.style import GREEN, GREY
from reports.words import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.figures.learning_curves import LearningCurves
    from reports.figures.lines import Line

MAX_LINES_PER_PANEL = 7
"""Largest number of lines in one panel; more lines have a panel each."""

PANELS_PER_ROW = 4
LONGEST_TITLE = 28
"""Largest number of characters in the title of a small panel."""


def draw_learning_curves(data: LearningCurves) -> Figure:
    """Draw all curves into one panel, or each into a small panel if there are many."""
    if len(data.panel.lines) > MAX_LINES_PER_PANEL:
        return _draw_small_panels(data)
    figure, (axes,) = new_figure(2.5, 1, 1)
    draw_panel(axes, data.panel)
    axes.set_title(printable(data.panel.title))
    figure.legend(loc="outside upper center", ncols=min(len(data.panel.lines), 3))
    return figure


def _draw_small_panels(data: LearningCurves) -> Figure:
    """Draw a panel for each curve, with all other curves as thin grey lines behind it."""
    lines = data.panel.lines
    rows = -(-len(lines) // PANELS_PER_ROW)
    figure, axes = new_figure(0.3 + 1.1 * rows, rows, PANELS_PER_ROW, share_y=True)
    for number, (line, panel) in enumerate(zip(lines, axes, strict=False)):
        for other in lines:
            panel.plot(other.band.x, other.band.mean, color="#c4c4c4", linewidth=0.4)
        _draw_curve(panel, line)
        panel.set_title(_split_title(printable(line.label)), fontsize=7)
        panel.set_xlim(0, max(x for other in lines for x in other.band.x))
        panel.tick_params(labelbottom=number + PANELS_PER_ROW >= len(lines))
    for unused_axes in axes[len(lines) :]:
        unused_axes.remove()
    figure.supxlabel("epoch", fontsize=8.5)
    figure.supylabel(data.panel.y_label, fontsize=8.5)
    return figure


def _draw_curve(axes: Axes, line: Line) -> None:
    """Draw one curve with its band, and print its last value."""
    band = line.band
    mean, std = np.array(band.mean), np.array(band.std)
    axes.plot(band.x, mean, color=GREEN, linewidth=1.1)
    axes.fill_between(band.x, mean - std, mean + std, color=GREEN, alpha=0.3, linewidth=0)
    spread = "" if isnan(std[-1]) else f" ± {std[-1]:.1f}"
    axes.text(
        0.97,
        0.05,
        f"{mean[-1]:.1f}{spread}",
        ha="right",
        va="bottom",
        fontsize=7,
        color=GREY,
        transform=axes.transAxes,
    )


def _split_title(label: str) -> str:
    """Put the name and each value of a method into lines of their own if one line is too short."""
    return label.replace(", ", "\n") if len(label) > LONGEST_TITLE else label
