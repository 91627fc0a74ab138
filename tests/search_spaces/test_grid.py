"""Points of the grid of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.grid import check_grid_size, grid_points
from search_spaces.loader import load_study, parse_set_flag
from trainables.errors import FieldError

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


def test_points_of_a_grid_meet_conditions_once(write_study: Callable[..., Path]) -> None:
    path = write_study(
        "      lambda: {low: 0.05, high: 20, log: true}\n      alpha: {low: 0.5, high: 0.99}",
        "      clamps: {choices: [true, false]}\n"
        "      target_interval: {low: 1, high: 9, when: {clamps: false}}",
    )
    sets = (
        "reference.nal=null",
        "search.sampler=grid",
        "search.trials=4",
        "search.grid.nal={clamps: [true, false], target_interval: 3}",
    )
    study = load_study(str(path), [parse_set_flag(text) for text in sets]).study
    assert grid_points(study, "nal") == [
        {"clamps": True},
        {"clamps": False, "target_interval": 1},
        {"clamps": False, "target_interval": 5},
        {"clamps": False, "target_interval": 9},
    ]


@pytest.mark.parametrize(
    ("grid", "trials", "message"),
    [
        (
            "{lambda: 9999, alpha: 9999}",
            4,
            "the grid of nal has 9999 × 9999 points, but the search has 4 trials: state a grid "
            "with at most 10000 points, the reference values included",
        ),
        (
            "{lambda: 100, alpha: 100}",
            4,
            "the grid of nal has 100 × 100 points, 10001 with reference values, but the search "
            "has 4 trials: state a grid with at most 10000 points, the reference values included",
        ),
        (
            "{lambda: 2, alpha: 3}",
            4,
            "the grid of nal has 2 × 3 points, 7 with reference values, but the search has 4 "
            "trials: set search.trials=7, which tries every point once, or state another grid",
        ),
        (
            "{lambda: [0.5, 2], alpha: [0.9]}",
            3,
            "the grid of nal has 2 × 1 points, 2 with reference values, but the search has 3 "
            "trials: set search.trials=2, which tries every point once, or state another grid",
        ),
    ],
)
def test_a_search_has_as_many_trials_as_points(
    grid: str, trials: int, message: str, write_study: Callable[..., Path]
) -> None:
    sets = ("search.sampler=grid", f"search.trials={trials}", f"search.grid.nal={grid}")
    study = load_study(str(write_study()), [parse_set_flag(text) for text in sets]).study
    with pytest.raises(FieldError) as raised:
        check_grid_size(study)
    assert (raised.value.field, raised.value.message) == ("search.grid.nal", message)
