"""Settings of methods and backbones: their defaults, allowed values and search spaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from trainables.errors import FieldError, suggest

Scalar = bool | int | float | str
"""Type of a parameter value that is not a list."""
Value = Scalar | tuple[int, ...]
"""Type of a parameter value; a list of integers is stored as a tuple."""


class FrozenMap(Mapping[str, Value]):
    """Immutable, hashable mapping from parameter names to values, sorted by name."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Value] | None = None) -> None:
        self._items: dict[str, Value] = dict(sorted((items or {}).items()))

    def __getitem__(self, key: str) -> Value:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenMap({self._items!r})"

    def number(self, key: str) -> float:
        """Return the numeric value of a key as a float.

        Raises:
            TypeError: if the value is a string or a tuple.
        """
        value = self._items[key]
        if isinstance(value, str | tuple):
            raise TypeError(f"{key} is not a number: {value!r}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Space:
    """Search space of one numeric hyperparameter: the interval [low, high].

    Attributes:
        low: lower bound of the interval.
        high: upper bound of the interval.
        log: whether values are sampled uniformly on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise FieldError("high", f"high must be above low ({self.low:g}), got {self.high:g}")
        if self.log and self.low <= 0:
            raise FieldError("low", f"low must be above 0 if log is true, got {self.low:g}")
        for bound in ("low", "high"):  # as floats, so that 1 and 1.0 share one digest
            object.__setattr__(self, bound, float(getattr(self, bound)))

    def position(self, value: float) -> float:
        """Return the relative position of a value in the interval: 0 for `low`, 1 for `high`.

        If `log` is true, the logarithms of the value and of the bounds are used.
        """
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    def value_at(self, position: float) -> float:
        """Return the value at a relative position in the interval, the inverse of `position`."""
        low, high = self.low, self.high
        if self.log:
            value = math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
        else:
            value = low + position * (high - low)
        return min(max(value, low), high)


@dataclass(frozen=True, slots=True)
class Parameter:
    """Setting of a method or backbone (not a weight); all values have the type of the default.

    Attributes:
        name: name of the parameter in studies, flags and MLflow.
        default: value used if a study does not set the parameter.
        help: one-line description for the user, with the source of the default.
        low: lower bound of a numeric value.
        high: upper bound of a numeric value.
        low_open: whether `low` itself is not allowed.
        high_open: whether `high` itself is not allowed.
        choices: allowed values of a parameter whose default is a string.
        in_epochs: whether the value counts epochs, and is scaled with the length of a run.
        must_be_reached: whether the value is an epoch at which the method changes its behaviour, so
            that a run must not end before this epoch.
        must_be_followed: whether the value counts epochs at the start of a run that at least one
            other epoch must follow.
        space: default search space; None if the parameter is not searched by default.
        neutral: for a parameter that was added after a release, the value under which the method or
            backbone behaves as before. The digest of a run leaves out parameters with this value,
            which must never change. None for all other parameters.
    """

    name: str
    default: Value
    help: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    choices: tuple[str, ...] = ()
    in_epochs: bool = False
    must_be_reached: bool = False
    must_be_followed: bool = False
    space: Space | None = None
    neutral: Value | None = None

    def __post_init__(self) -> None:
        """Check that a parameter with a search space has a float as default.

        Raises:
            ValueError: if the default has another type.
        """
        if self.space is not None and not isinstance(self.default, float):
            raise ValueError(
                f"parameter {self.name} has a search space, so its default must be a real number "
                f"such as 2.0, got {self.default!r}"
            )

    @property
    def allowed(self) -> str:
        """Description of the allowed values for messages, such as "a number above 0"."""
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, str):
            return "one of " + ", ".join(self.choices)
        type_text = "a list of integers" if isinstance(self.default, tuple) else "a number"
        type_text = "an integer" if isinstance(self.default, int) else type_text
        bounds = []
        if self.low > -math.inf:
            bounds.append(f"{'above' if self.low_open else 'at least'} {self.low:g}")
        if self.high < math.inf:
            bounds.append(f"{'below' if self.high_open else 'at most'} {self.high:g}")
        return " ".join([type_text, " and ".join(bounds)]).strip()

    def check(self, value: object) -> Value:
        """Check a value and return it converted to the type of the parameter.

        Raises:
            FieldError: if the value has another type or is out of range.
        """
        converted = self._convert(value)
        if converted is None:
            raise FieldError(self.name, f"{self.name} must be {self.allowed}, got {value!r}")
        return converted

    def _convert(self, value: object) -> Value | None:
        """Return a value in the type of the parameter; None if the value is not allowed."""
        if isinstance(self.default, bool):
            return value if isinstance(value, bool) else None
        if isinstance(self.default, str):
            return value if isinstance(value, str) and value in self.choices else None
        if isinstance(self.default, tuple):
            if isinstance(value, str) or not isinstance(value, Sequence) or not value:
                return None
            numbers = tuple(self._convert_number(element) for element in value)
            return None if None in numbers else tuple(int(n) for n in numbers if n is not None)
        return self._convert_number(value)

    def _convert_number(self, value: object) -> float | int | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        takes_integers = isinstance(self.default, int | tuple)
        if not math.isfinite(value) or (takes_integers and value != int(value)):
            return None
        is_too_low = value <= self.low if self.low_open else value < self.low
        is_too_high = value >= self.high if self.high_open else value > self.high
        if is_too_low or is_too_high:
            return None
        return int(value) if takes_integers else value + 0.0  # turns -0.0 into 0.0: one digest


def complete_parameters(
    owner: str, parameters: Sequence[Parameter], values: Mapping[str, object]
) -> FrozenMap:
    """Check given parameter values and add the defaults of all other parameters.

    Args:
        owner: description of the method or backbone for messages, such as "method nal".
        parameters: all parameters of the method or backbone.
        values: values by parameter name, from a study or a flag.

    Returns:
        Value of each parameter, by name.

    Raises:
        FieldError: if a name is unknown or a value is not allowed.
    """
    parameters_by_name = {parameter.name: parameter for parameter in parameters}
    for name in values:
        if name not in parameters_by_name:
            hint = (
                suggest(name, parameters_by_name)
                if parameters_by_name
                else f"remove the setting, since {owner} has no parameters"
            )
            raise FieldError(name, f"{owner} has no parameter '{name}': {hint}")
    return FrozenMap(
        {
            name: parameter.check(values[name]) if name in values else parameter.default
            for name, parameter in parameters_by_name.items()
        }
    )


def without_neutral_values(values: FrozenMap, parameters: Sequence[Parameter]) -> dict[str, Value]:
    """Return parameter values for a digest, without those equal to `Parameter.neutral`."""
    neutral_values = _neutral_values(parameters)
    return {
        name: value
        for name, value in values.items()
        if name not in neutral_values or value != neutral_values[name]
    }


def with_neutral_values(values: FrozenMap, parameters: Sequence[Parameter]) -> FrozenMap:
    """Return recorded parameter values, with neutral values for parameters added since then."""
    return FrozenMap({**_neutral_values(parameters), **values})


def _neutral_values(parameters: Sequence[Parameter]) -> dict[str, Value]:
    return {
        parameter.name: parameter.neutral
        for parameter in parameters
        if parameter.neutral is not None
    }
