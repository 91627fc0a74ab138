"""Parameters of methods and backbones: names, defaults, allowed values and search spaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from trainables.errors import FieldError, suggest

Scalar = bool | int | float | str
Value = Scalar | tuple[int, ...]


class FrozenMap(Mapping[str, Value]):
    """An immutable, hashable mapping, ordered by key."""

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
        """Return a numeric value as a float.

        Raises:
            TypeError: if the value is a string or a tuple.
        """
        value = self._items[key]
        if isinstance(value, str | tuple):
            raise TypeError(f"{key} is not a number: {value!r}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Space:
    """Search space of one number: the interval [low, high].

    Attributes:
        low: lower bound.
        high: upper bound.
        log: whether the space is logarithmic.
    """

    low: float
    high: float
    log: bool = False

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise FieldError("high", f"must be above low ({self.low:g}), got {self.high:g}")
        if self.log and self.low <= 0:
            raise FieldError("low", f"must be above 0 in a log space, got {self.low:g}")
        for end in ("low", "high"):
            object.__setattr__(self, end, float(getattr(self, end)))  # 1 and 1.0 share one digest

    def position(self, value: float) -> float:
        """Return the position of a value in the (logarithmic) space: 0 at `low`, 1 at `high`."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Parameter:
    """Parameter of a method or backbone; its values have the type of its default.

    Attributes:
        name: name in studies, flags and MLflow.
        default: value used if a study does not set the parameter.
        help: description for the user in one line, with the source.
        low: lower bound of a number.
        high: upper bound of a number.
        low_open: whether `low` itself is not allowed.
        high_open: whether `high` itself is not allowed.
        choices: allowed values of a string.
        in_epochs: whether the value counts epochs, so that it is scaled with a training's length.
        must_be_reached: whether the value is an epoch at which the method starts something, so
            that a training must not end before it.
        space: default search space; None if the parameter is not searched by default.
        neutral: value under which the owner behaves as it did without the parameter, for one that
            was added after a release; it is omitted from digests and must never change.
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
    space: Space | None = None
    neutral: Value | None = None

    def __post_init__(self) -> None:
        """Check that a parameter with a search space takes real numbers.

        Raises:
            ValueError: if its default is of another type.
        """
        if self.space is not None and not isinstance(self.default, float):
            raise ValueError(
                f"parameter {self.name} has a search space, so its default must be a real number "
                f"such as 2.0, got {self.default!r}"
            )

    @property
    def allowed(self) -> str:
        """Description of the allowed values, for messages."""
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, str):
            return "one of " + ", ".join(self.choices)
        kind = "a list of integers" if isinstance(self.default, tuple) else "a number"
        kind = "an integer" if isinstance(self.default, int) else kind
        bounds = []
        if self.low > -math.inf:
            bounds.append(f"{'above' if self.low_open else 'at least'} {self.low:g}")
        if self.high < math.inf:
            bounds.append(f"{'below' if self.high_open else 'at most'} {self.high:g}")
        return " ".join([kind, " and ".join(bounds)]).strip()

    def check(self, value: object) -> Value:
        """Return the value, converted to the parameter's type.

        Raises:
            FieldError: if the value has another type or is out of range.
        """
        converted = self._convert(value)
        if converted is None:
            raise FieldError(self.name, f"{self.name} must be {self.allowed}, got {value!r}")
        return converted

    def _convert(self, value: object) -> Value | None:
        if isinstance(self.default, bool):
            return value if isinstance(value, bool) else None
        if isinstance(self.default, str):
            return value if isinstance(value, str) and value in self.choices else None
        if isinstance(self.default, tuple):
            if isinstance(value, str) or not isinstance(value, Sequence) or not value:
                return None
            numbers = tuple(self._convert_number(item) for item in value)
            return None if None in numbers else tuple(int(n) for n in numbers if n is not None)
        return self._convert_number(value)

    def _convert_number(self, value: object) -> float | int | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        whole = isinstance(self.default, int | tuple)
        if not math.isfinite(value) or (whole and value != int(value)):
            return None
        below = value <= self.low if self.low_open else value < self.low
        above = value >= self.high if self.high_open else value > self.high
        if below or above:
            return None
        return int(value) if whole else value + 0.0  # turns -0.0 into 0.0: one digest


def complete(
    owner: str, parameters: Sequence[Parameter], values: Mapping[str, object]
) -> FrozenMap:
    """Return values of all parameters: the checked `values`, and the defaults of the others.

    Args:
        owner: method or backbone that has the parameters, such as "method nal", for messages.
        parameters: all parameters of the owner.
        values: values by parameter name, from a study or a flag.

    Raises:
        FieldError: if a name is unknown or a value is not allowed.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in values:
        if name not in known:
            tail = suggest(name, known) if known else "it takes none"
            raise FieldError(name, f"{owner} has no parameter '{name}': {tail}")
    return FrozenMap(
        {
            name: parameter.check(values[name]) if name in values else parameter.default
            for name, parameter in known.items()
        }
    )


def without_neutral(values: FrozenMap, parameters: Sequence[Parameter]) -> dict[str, Value]:
    """Return the values that enter digests: all but those at their parameter's neutral value."""
    neutral = {p.name: p.neutral for p in parameters if p.neutral is not None}
    return {k: v for k, v in values.items() if k not in neutral or v != neutral[k]}


def with_neutral(values: FrozenMap, parameters: Sequence[Parameter]) -> FrozenMap:
    """Return values with the neutral values of missing parameters, which older records lack."""
    neutral = {p.name: p.neutral for p in parameters if p.neutral is not None}
    return FrozenMap({**neutral, **values})
