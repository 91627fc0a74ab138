"""What of a method a study can fix or search, by name."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainables.errors import FieldError
from trainables.methods import method_of
from trainables.parameters import Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def under(path: str) -> Iterator[None]:
    """Put a path before that of the faults inside."""
    try:
        yield
    except FieldError as error:
        raise FieldError(f"{path}.{error.field}".rstrip("."), error.message) from error


def parameters_of(method: str) -> dict[str, Parameter]:
    """Return a method's parameters by name.

    Raises:
        FieldError: an unknown method; its path is the name, as where methods are keys.
    """
    try:
        return {parameter.name: parameter for parameter in method_of(method).parameters}
    except FieldError as error:
        raise FieldError(method, error.message) from error


RECIPE_VALUES: dict[str, Parameter] = {
    "learning_rate": Parameter(
        "learning_rate", default=0.1, low=0, low_open=True, help="base rate of the schedule"
    ),
    "weight_decay": Parameter("weight_decay", default=0.0, low=0, help="of the optimiser"),
}
"""Values of the recipe that can be searched with a method."""


def tunable_of(method: str) -> dict[str, Parameter]:
    """Return all that can be searched for a method, by name.

    Raises:
        FieldError: an unknown method.
    """
    return {**parameters_of(method), **RECIPE_VALUES}


def check_distinct(path: str, items: Sequence[object]) -> None:
    """Refuse a list with an item that stands in it twice."""
    for position, item in enumerate(items):
        if item in items[:position]:
            raise FieldError(f"{path}.{position}", f"{item} is given twice: remove one")
