"""Drawing of the response of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reports.figures.drawings.panels import add_legend, add_title, new_figure, use_logarithmic_axis
from reports.figures.style import BLACK, BLUE, COLOUR_MAP, GREEN, GREY, VERMILION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from reports.figures.response import Axis, Response

ACCURACY = "held-out accuracy (%)"

POINT_LOOKS = {
    "best trial": ("^", 5.5, VERMILION),
    "chosen": ("D", 9, "#ffffff"),
    "reference": ("X", 6.5, "#ffffff"),
}
"""Marker, size and colour of the points that are named in the legend."""


def draw_response(data: Response) -> Figure:
    """Draw the response as a curve for one hyperparameter, as two maps for two."""
    return _draw_curve(data) if len(data.axes) == 1 else _draw_maps(data)


def _draw_curve(data: Response) -> Figure:
    """Draw mean and band over the only hyperparameter, with the trials as points."""
    figure, (axes,) = new_figure(2.4, 1, 1)
    x = np.array(data.grid)[:, 0]
    mean, std = np.array(data.mean), np.array(data.std)
    axes.fill_between(x, mean - 2 * std, mean + 2 * std, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(x, mean, color=BLUE, label="mean ± 2 standard deviations")
    axes.plot(
        [values[0] for values in data.trials],
        data.accuracies,
        linestyle="",
        marker="o",
        markersize=4,
        markerfacecolor="white",
        color=BLACK,
        label="trial",
    )
    low, high = axes.get_ylim()
    # The tied region is a bar at the bottom.
    bottom = low - 0.06 * (high - low)
    axes.plot(
        x,
        np.where(data.tied, bottom, np.nan),
        color=GREEN,
        linewidth=3,
        solid_capstyle="butt",
        label="tied with the best",
    )
    for label, values in _named_points(data).items():
        height = (
            data.accuracies[data.best]
            if label == "best trial"
            else float(np.interp(data.axes[0].to_unit(values)[0], np.linspace(0, 1, len(x)), mean))
        )
        _draw_named_point(axes, label, values[0], height)
    _set_scale(axes, data.axes[0])
    axes.set_ylabel(ACCURACY)
    add_legend(figure, [axes], columns=3)
    return figure


def _draw_maps(data: Response) -> Figure:
    """Draw mean and standard deviation as maps over both hyperparameters."""
    figure, axes = new_figure(2.75, 1, 2)
    size = round(len(data.grid) ** 0.5)
    grid = np.array(data.grid)
    x, y = grid[:, 0].reshape(size, size), grid[:, 1].reshape(size, size)
    margin = np.array(data.margin).reshape(size, size)
    for number, (panel, title, values, bar_label) in enumerate(
        [
            (axes[0], "mean", data.mean, ACCURACY),
            (axes[1], "standard deviation", data.std, "points"),
        ]
    ):
        levels = _levels(np.array(values))
        filled = panel.contourf(
            x,
            y,
            np.array(values).reshape(size, size),
            levels=levels,
            cmap=COLOUR_MAP,
        )
        bar = figure.colorbar(filled, ax=panel, location="bottom", pad=0.03, aspect=30)
        bar.set_label(bar_label)
        bar.ax.tick_params(labelsize=7)
        panel.contour(x, y, margin, levels=[0], colors="white", linewidths=1.6)
        panel.contour(x, y, margin, levels=[0], colors=BLACK, linewidths=0.9, linestyles="--")
        if margin.min() < 0:
            panel.contourf(x, y, margin, levels=[margin.min(), 0], colors="none", hatches=["////"])
        _draw_points(panel, data)
        _set_scale(panel, data.axes[0])
        panel.set_ylabel(data.axes[1].letter)
        if data.axes[1].log:
            panel.set_yscale("log")
        panel.set_ylim(data.axes[1].low, data.axes[1].high)
        panel.spines[["top", "right"]].set_visible(True)
        add_title(panel, number, title)
    handles, labels = axes[0].get_legend_handles_labels()
    if margin.min() < 0:
        handles.append(Patch(facecolor="none", edgecolor=BLACK, linestyle="--", hatch="//////"))
        labels.append("not tied with the best")
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles))
    return figure


def _draw_points(axes: Axes, data: Response) -> None:
    """Draw the trials, and the points that are named in the legend, on a map."""
    trials = np.array(data.trials)
    axes.plot(
        trials[:, 0],
        trials[:, 1],
        linestyle="",
        marker="o",
        markersize=3.5,
        markerfacecolor=GREY,
        markeredgecolor="white",
        markeredgewidth=0.6,
        label="trial",
    )
    for label, values in _named_points(data).items():
        _draw_named_point(axes, label, values[0], values[1])


def _draw_named_point(axes: Axes, label: str, x: float, y: float) -> None:
    """Draw a point of the legend, above the frame of the panel where it lies on its edge."""
    marker, size, colour = POINT_LOOKS[label]
    axes.plot(
        x,
        y,
        linestyle="",
        marker=marker,
        markersize=size,
        markerfacecolor=colour,
        markeredgecolor=BLACK,
        markeredgewidth=0.8,
        label=label,
        clip_on=False,
    )


def _named_points(data: Response) -> dict[str, Sequence[float]]:
    """Return the points of the legend within the searched range, by label."""
    points = {
        "chosen": data.chosen,
        "reference": data.reference,
        "best trial": data.trials[data.best],
    }
    return {
        label: values
        for label, values in points.items()
        if values is not None
        and all(
            axis.low <= value <= axis.high for axis, value in zip(data.axes, values, strict=True)
        )
    }


def _levels(values: NDArray[np.float64]) -> Sequence[float]:
    """Return the limits of about eight steps of colour, which are round numbers."""
    low, high = values.min(), values.max()
    # A flat map has steps as well.
    return MaxNLocator(8).tick_values(low, max(high, low + 0.1))


def _set_scale(axes: Axes, axis: Axis) -> None:
    """Give the horizontal axis the range and the scale of a hyperparameter."""
    axes.set_xlabel(axis.letter)
    if axis.log:
        use_logarithmic_axis(axes)
    axes.set_xlim(axis.low, axis.high)
