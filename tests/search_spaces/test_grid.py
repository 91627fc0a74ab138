"""Points of the grid of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.grid import grid_points
from search_spaces.loader import load_study, parse_set_flag

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("grid", "trials", "points"),
    [
        ("{lambda: [1, 2], alpha: [0.9]}", 3, [(1.0, 0.9), (2.0, 0.9)]),
        # The reference is a point of the grid.
        ("{lambda: [0.5, 2], alpha: [0.9]}", 2, [(2.0, 0.9)]),
        (
            "{lambda: 3, alpha: 2}",
            7,
            [(0.05, 0.5), (0.05, 0.99), (1.0, 0.5), (1.0, 0.99), (20.0, 0.5), (20.0, 0.99)],
        ),
    ],
)
def test_a_grid_has_all_combinations_except_for_the_reference(
    grid: str,
    trials: int,
    points: list[tuple[float, float]],
    write_study: Callable[..., Path],
) -> None:
    sets = ("search.sampler=grid", f"search.trials={trials}", f"search.grid.nal={grid}")
    loaded = load_study(str(write_study()), [parse_set_flag(text) for text in sets])
    assert grid_points(loaded.study, "nal") == [
        {"lambda": lambda_, "alpha": alpha} for lambda_, alpha in points
    ]
