"""Points of the grid that a search tries, as a study states them."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

from search_spaces.fields import prefix_error_field, tunable_parameters_of
from search_spaces.resolve import reference_of
from trainables.errors import FieldError, suggest
from trainables.run.parameters import Space, active_spaces, format_value

if TYPE_CHECKING:
    from search_spaces.fields import GridAxis
    from search_spaces.schema import Study
    from trainables.run.parameters import AnySpace, Scalar

MAX_POINT_COUNT = 10_000
"""Largest number of points of a grid, as of trials of a search."""


def grid_points(study: Study, method: str) -> list[dict[str, Scalar]]:
    """Return the points of the grid of a method, except for the reference, which is tried first.

    A point has no values of hyperparameters whose conditions it does not meet.

    Args:
        study: checked study whose sampler is "grid".
        method: name of a tuned method.
    """
    spaces, axes = study.space_of(method), study.search.grid[method]
    reference = dict(reference_of(study, method) or {})
    points: dict[frozenset[tuple[str, Scalar]], dict[str, Scalar]] = {}
    for values in product(*(_axis_values(axes[name], spaces[name]) for name in spaces)):
        point = dict(zip(spaces, values, strict=True))
        active_point = {name: point[name] for name in active_spaces(spaces, point)}
        if active_point != reference:
            points.setdefault(frozenset(active_point.items()), active_point)
    return list(points.values())


def _axis_values(axis: GridAxis, space: AnySpace) -> tuple[Scalar, ...]:
    """Return the values of an axis of the grid.

    Args:
        axis: the values; or their number, for as many at equal distances on the scale of the space,
            the bounds among them.
        space: search space of the hyperparameter.
    """
    if not isinstance(space, Space):
        return axis if isinstance(axis, tuple) else ()
    if isinstance(axis, tuple):
        return tuple(space.clip(value) for value in axis)
    values = (space.value_at(position / (axis - 1)) for position in range(axis))
    return tuple(value if space.integer else float(f"{value:.4g}") for value in values)


def check_grid(study: Study) -> None:
    """Check that the grids of a study suit its search spaces.

    Raises:
        FieldError: if a grid has no effect, lacks a hyperparameter, or has values outside the
            search space.
    """
    grids = study.search.grid
    if grids and study.search.sampler != "grid":
        raise FieldError(
            "search.grid",
            f"has no effect with the sampler {study.search.sampler}: set search.sampler=grid, or "
            "leave the grid out",
        )
    with prefix_error_field("search.grid"):
        for method in grids:  # known, even if it is not tuned
            tunable_parameters_of(method)
    if study.search.sampler == "grid":
        for method in study.tune:
            _check_axes(study, method)


def check_grid_size(study: Study) -> None:
    """Check that each search has as many trials as its grid has points, the reference included.

    Args:
        study: study that has passed `check_grid`.

    Raises:
        FieldError: if a grid has more points than the search has trials, or fewer.
    """
    for method in study.tune if study.search.sampler == "grid" else ():
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
        with prefix_error_field(f"{key}.{method}.{name}"):
            _check_axis(axis, spaces[name], f"search.space.{method}.{name}")


def _check_axis(axis: GridAxis, space: AnySpace, space_key: str) -> None:
    """Check that the values of an axis lie in the search space, and that none is repeated."""
    if isinstance(axis, int):
        if not isinstance(space, Space):
            raise FieldError("", f"choices have no distances: list the values, some of {space}")
        if space.integer and axis > space.high - space.low + 1:
            raise FieldError("", f"{space} has fewer than {axis} integers: state fewer values")
        return
    for position, value in enumerate(axis):
        if value not in space:
            raise FieldError(
                str(position),
                f"{format_value(value)} is not in the searched space {space}: change {space_key}",
            )
        if value in axis[:position]:
            raise FieldError(str(position), f"{format_value(value)} is given twice: remove one")


def _check_size(study: Study, method: str) -> None:
    trial_count = study.search.trials
    axes = study.search.grid[method].values()
    sizes = [axis if isinstance(axis, int) else len(axis) for axis in axes]
    point_count = math.prod(sizes)
    text = f"the grid of {method} has {' × '.join(map(str, sizes))} points"
    has_reference = reference_of(study, method) is not None
    if point_count <= MAX_POINT_COUNT:
        point_count = len(grid_points(study, method))
        if has_reference:
            point_count += 1
            text += f", {point_count} with reference values"
        if point_count == trial_count:
            return
    advice = (
        f"set search.trials={point_count}, which tries every point once, or state another grid"
        if point_count <= MAX_POINT_COUNT
        else f"state a grid with at most {MAX_POINT_COUNT} points"
        + (", the reference values included" if has_reference else "")
    )
    raise FieldError(
        f"search.grid.{method}", f"{text}, but the search has {trial_count} trials: {advice}"
    )
