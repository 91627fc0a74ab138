"""Points of the grid that a search tries, as a study states them."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

from search_spaces.resolve import reference_of
from trainables.errors import FieldError, suggest

if TYPE_CHECKING:
    from search_spaces.fields import GridAxis
    from search_spaces.schema import Study
    from trainables.run.parameters import Space


def grid_points(study: Study, method: str) -> list[dict[str, float]]:
    """Return the points of the grid of a method, except for the reference, which is tried first.

    Args:
        study: checked study whose sampler is "grid".
        method: name of a tuned method.
    """
    axes = _axes(study, method)
    reference = reference_of(study, method)
    points = [dict(zip(axes, point, strict=True)) for point in product(*axes.values())]
    return [point for point in points if reference is None or point != dict(reference)]


def _axes(study: Study, method: str) -> dict[str, tuple[float, ...]]:
    """Return the values of each axis of the grid of a method."""
    stated_axes = study.search.grid[method]
    return {
        name: _axis_values(stated_axes[name], space)
        for name, space in study.space_of(method).items()
    }


def _axis_values(axis: GridAxis, space: Space) -> tuple[float, ...]:
    """Return the values of an axis of the grid.

    Args:
        axis: the values; or their number, for as many at equal distances on the scale of the space,
            the bounds among them.
        space: search space of the hyperparameter.
    """
    if not isinstance(axis, int):
        return axis
    values = (space.value_at(position / (axis - 1)) for position in range(axis))
    return tuple(float(f"{value:.4g}") for value in values)


def check_grid(study: Study) -> None:
    """Check that the grids of a study suit its search spaces and its number of trials.

    Raises:
        FieldError: if a grid lacks a hyperparameter, has values outside the search space, or has
            more or fewer points than the search has trials.
    """
    grids = study.search.grid
    if grids and study.search.sampler != "grid":
        raise FieldError(
            "search.grid",
            f"has no effect with the sampler {study.search.sampler}: set search.sampler=grid, or "
            "leave the grid out",
        )
    for method in grids:
        if method not in study.tune:
            raise FieldError(
                f"search.grid.{method}",
                f"'{method}' is not tuned: {suggest(method, study.tune)}",
            )
    if study.search.sampler == "grid":
        for method in study.tune:
            _check_axes(study, method)
            _check_size(study, method)


def _check_axes(study: Study, method: str) -> None:
    """Check that a grid has values for each searched hyperparameter, and no others."""
    spaces, axes, key = study.space_of(method), study.search.grid.get(method, {}), "search.grid"
    missing_names = [name for name in spaces if name not in axes]
    if missing_names:
        example = ", ".join(f"{name}: 5" for name in spaces)
        raise FieldError(
            f"{key}.{method}" if axes else key,
            f"the sampler grid needs values of {', '.join(missing_names)}, which the study searches"
            f" for {method}: write a list or a number of values, as in {{{method}: {{{example}}}}}",
        )
    for name, axis in axes.items():
        if name not in spaces:
            raise FieldError(
                f"{key}.{method}.{name}", f"{name} is not searched: {suggest(name, spaces)}"
            )
        space = spaces[name]
        stated_values = () if isinstance(axis, int) else axis
        for position, value in enumerate(stated_values):
            if not space.low <= value <= space.high:
                raise FieldError(
                    f"{key}.{method}.{name}.{position}",
                    f"{value:g} is outside the searched range [{space.low:g}, {space.high:g}]: "
                    f"widen search.space.{method}.{name}",
                )
            if value in stated_values[:position]:
                raise FieldError(
                    f"{key}.{method}.{name}.{position}", f"{value:g} is given twice: remove one"
                )


def _check_size(study: Study, method: str) -> None:
    """Check that a search has as many trials as its grid has points, the reference included."""
    trial_count = study.search.trials
    axes = study.search.grid[method].values()
    sizes = [axis if isinstance(axis, int) else len(axis) for axis in axes]
    product_text = " × ".join(map(str, sizes))
    point_count, text = math.prod(sizes), f"the grid of {method} has {product_text} points"
    if point_count <= trial_count and reference_of(study, method) is not None:
        point_count = len(grid_points(study, method)) + 1
        text += f", {point_count} with the paper's values"
    if point_count != trial_count:
        raise FieldError(
            f"search.grid.{method}",
            f"{text}, but the search has {trial_count} trials: set search.trials={point_count}, "
            "which tries every point once, or state another grid",
        )
