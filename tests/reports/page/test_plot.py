"""Coordinates of learning curves."""

from __future__ import annotations

import math

import pytest

from reports.page.plot import MAX_POINTS, plot_curves


def test_lines_have_the_scale_of_their_axes() -> None:
    plot = plot_curves({3: [(1, 0.45), (2, 0.6), (5, 0.83)], 4: [(1, 0.41), (5, 0.9)]})
    assert plot is not None
    assert (plot.first_epoch, plot.last_epoch, plot.low, plot.high) == (1, 5, 40, 90)
    assert plot.lines == {3: "0,90 75,60 300,14", 4: "0,98 300,0"}


def test_values_that_differ_little_fill_the_plot() -> None:
    plot = plot_curves({0: [(10, 0.931), (20, 0.934)]})
    assert plot is not None
    assert (plot.low, plot.high) == (93, 94)
    flat = plot_curves({0: [(10, 0.5), (20, 0.5)]})
    assert flat is not None
    assert (flat.low, flat.high, flat.lines[0]) == (50, 51, "0,100 300,100")


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    plot = plot_curves({0: [(epoch, epoch / 501) for epoch in range(1, 501)]})
    assert plot is not None
    points = plot.lines[0].split()
    assert len(points) == MAX_POINTS
    assert (points[0], points[-1]) == ("0,100", "300,0")


@pytest.mark.parametrize("curve", [[], [(1, 0.5)], [(1, 0.5), (2, math.nan)]])
def test_there_is_no_line_through_fewer_than_two_points(curve: list[tuple[int, float]]) -> None:
    assert plot_curves({0: curve}) is None
    plot = plot_curves({0: curve, 1: [(1, 0.5), (2, 0.6)]})
    assert plot is not None
    assert list(plot.lines) == [1]
