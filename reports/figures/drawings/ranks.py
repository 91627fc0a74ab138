"""Drawing of average ranks as a critical-difference diagram (Demšar, JMLR 7, 2006, Fig. 1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.figures.drawings.panels import new_figure
from reports.figures.style import BLACK, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.figures.ranks import Ranks

LINE_HEIGHT = 0.17
"""Distance of the names of two methods, in inches."""


def draw_ranks(data: Ranks) -> Figure:
    """Draw an axis of ranks with the names of the methods on both sides below it.

    A bar above the axis is as long as the critical difference; bars below it join methods that
    are not told apart.
    """
    methods = data.comparison.methods
    line_count = math.ceil(len(methods) / 2)
    group_count = len(data.comparison.groups)
    # Lines from top to bottom: critical difference, axis, groups, names.
    row_count = 3 + group_count + line_count
    figure, (axes,) = new_figure(LINE_HEIGHT * row_count + 0.1, 1, 1)
    low, high = 1, len(methods)
    axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set_ylim(-row_count + 2.3, 2.3)
    axes.axis("off")
    _draw_axis(axes, low, high)
    _draw_bar(axes, low, low + data.critical_difference, 1.6, color=BLACK)
    difference_text = f"critical difference {data.critical_difference:.2f}"
    axes.text(low + data.critical_difference, 1.6, f"  {difference_text}", va="center")
    ranks = {method.name: method.rank for method in methods}
    for number, group in enumerate(data.comparison.groups):
        _draw_bar(axes, ranks[group[0]], ranks[group[-1]], -0.6 - number, color=GREY)
    for number, method in enumerate(methods):
        is_left = number < line_count
        line = number if is_left else len(methods) - 1 - number
        y = -1.0 - group_count - line
        edge = axes.get_xlim()[0 if is_left else 1]
        axes.plot([method.rank, method.rank, edge], [0, y, y], color=BLACK, linewidth=0.6)
        axes.text(
            edge,
            y,
            f"{method.name}  {method.rank:.2f} "
            if is_left
            else f" {method.rank:.2f}  {method.name}",
            ha="right" if is_left else "left",
            va="center",
        )
    return figure


def _draw_axis(axes: Axes, low: int, high: int) -> None:
    """Draw the axis of ranks with its ticks."""
    axes.plot([low, high], [0, 0], color=BLACK, linewidth=0.8)
    for rank in range(low, high + 1):
        axes.plot([rank, rank], [0, 0.15], color=BLACK, linewidth=0.8)
        axes.text(rank, 0.3, str(rank), ha="center", va="bottom")


def _draw_bar(axes: Axes, start: float, end: float, y: float, *, color: str) -> None:
    axes.plot([start, end], [y, y], color=color, linewidth=2.5, solid_capstyle="butt")
