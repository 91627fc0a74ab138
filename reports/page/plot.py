"""Small plots of learning curves: coordinates of their lines and labels of their axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reports.read import Curve

MAX_POINTS = 60
"""Largest number of points of a line, which keeps the page of many runs small."""

WIDTH, HEIGHT = 300, 100
"""Size of the area of the lines, in the plot's own units."""

_COARSE_STEP, _FINE_STEP = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class CurvePlot:
    """Learning curves of the runs of a cell, one line for each seed.

    Attributes:
        lines: points of each line, "x,y x,y ..." in units of the area, by seed.
        first_epoch: epoch at the left edge.
        last_epoch: epoch at the right edge.
        low: accuracy at the lower edge, in percent.
        high: accuracy at the upper edge, in percent.
    """

    lines: Mapping[int, str]
    first_epoch: int
    last_epoch: int
    low: float
    high: float


def plot_curves(curves: Mapping[int, Curve]) -> CurvePlot | None:
    """Return the plot of learning curves; None if no curve has two points to draw a line through.

    Args:
        curves: accuracies over the epochs, as fractions, by seed. Values that are not numbers are
            left out.
    """
    drawn = {
        seed: thinned
        for seed, curve in curves.items()
        if len(thinned := _thin([(epoch, 100 * value) for epoch, value in curve])) >= 2
    }
    if not drawn:
        return None
    epochs = [epoch for curve in drawn.values() for epoch, _ in curve]
    values = [value for curve in drawn.values() for _, value in curve]
    low, high = _axis_limits(min(values), max(values))
    first, last = min(epochs), max(epochs)
    return CurvePlot(
        lines={
            seed: " ".join(
                f"{WIDTH * (epoch - first) / (last - first):.0f},"
                f"{HEIGHT * (high - value) / (high - low):.0f}"
                for epoch, value in curve
            )
            for seed, curve in drawn.items()
        },
        first_epoch=first,
        last_epoch=last,
        low=low,
        high=high,
    )


def _thin(curve: Curve) -> Curve:
    """Return at most `MAX_POINTS` points of a curve, with the first and the last one."""
    numbers = [(epoch, value) for epoch, value in curve if math.isfinite(value)]
    if len(numbers) <= MAX_POINTS:
        return numbers
    spacing = (len(numbers) - 1) / (MAX_POINTS - 1)
    return [numbers[round(spacing * index)] for index in range(MAX_POINTS)]


def _axis_limits(lowest: float, highest: float) -> tuple[float, float]:
    """Return round limits of an axis that contains all values, and is never empty."""
    step = _COARSE_STEP if highest - lowest > _COARSE_STEP else _FINE_STEP
    low, high = step * math.floor(lowest / step), step * math.ceil(highest / step)
    return (low, high) if low < high else (low, low + step)
