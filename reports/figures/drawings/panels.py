"""Parts that several drawings have in common: lines with bands, letters of panels, legends."""

from __future__ import annotations

from string import ascii_lowercase
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from reports.figures.style import LINE_LOOKS, TEXT_WIDTH
from reports.words import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from reports.figures.lines import Line, LinePanel

MARKERS_PER_LINE = 6
"""Approximate number of markers on a line."""


def new_figure(
    height: float, rows: int, columns: int, *, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure of the width of the text, and its panels row by row.

    Args:
        height: height in inches.
        rows: number of rows of panels.
        columns: number of columns of panels.
        share_y: whether all panels have the same vertical axis.
    """
    figure = Figure(figsize=(TEXT_WIDTH, height))
    axes: NDArray[np.object_] = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    return figure, axes.ravel().tolist()


def add_title(axes: Axes, number: int, title: str, *, first_letter: str = "a") -> None:
    """Give a panel its letter and heading, such as "(a) NAL"."""
    letter = ascii_lowercase[ascii_lowercase.index(first_letter) + number]
    axes.set_title(printable(f"({letter}) {title}"))


def draw_line(axes: Axes, line: Line, offset: int = 0) -> None:
    """Draw a line with its band.

    Args:
        axes: panel.
        line: line to draw.
        offset: number of the line in its panel, so that markers of several lines do not coincide.
    """
    look, band = LINE_LOOKS[line.role], line.band
    x, mean, std = np.array(band.x), np.array(band.mean), np.array(band.std)
    step = max(len(x) // MARKERS_PER_LINE, 1)
    axes.plot(
        x,
        mean,
        color=look.colour,
        linestyle=look.dashes,
        marker=look.marker,
        markevery=(offset * step // 3 % step, step),
        markeredgewidth=0,
        label=printable(line.label),
        solid_capstyle="round",
    )
    axes.fill_between(x, mean - std, mean + std, color=look.colour, alpha=0.2, linewidth=0)


def draw_panel(axes: Axes, panel: LinePanel, *, show_y_label: bool = True) -> None:
    """Draw the lines of a panel over the epochs."""
    for number, line in enumerate(panel.lines):
        draw_line(axes, line, number)
    positions = [x for line in panel.lines for x in line.band.x]
    start, end = min(positions), max(*positions, min(positions) + 1)
    # Room for the markers of the first and the last epoch.
    room = 0.02 * (end - start)
    axes.set_xlim(start - room, end + room)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("epoch")
    if show_y_label:
        axes.set_ylabel(panel.y_label)


def add_legend(figure: Figure, axes: Sequence[Axes], columns: int = 0) -> None:
    """Add one legend above all panels, without repetitions.

    Args:
        figure: figure.
        axes: panels whose lines are listed.
        columns: number of columns; 0 for one row.
    """
    handles: dict[str, Artist] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper center",
        ncols=columns or len(handles),
    )


def use_logarithmic_axis(axes: Axes, *, minor_ticks: bool = True) -> None:
    """Make the horizontal axis logarithmic, with plain numbers as labels."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda _value, _position: ""))
    if not minor_ticks:
        axes.xaxis.set_minor_locator(NullLocator())
