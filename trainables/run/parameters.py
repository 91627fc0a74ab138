"""What a method or a backbone can be told: names, defaults, allowed values, where to search."""

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
        """Return a value that is known to be a number.

        Raises:
            TypeError: it is text or a tuple.
        """
        value = self._items[key]
        if isinstance(value, str | tuple):
            raise TypeError(f"{key} is not a number: {value!r}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Space:
    """Where a search looks for one number: uniform in [low, high], or uniform in its logarithm."""

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
            object.__setattr__(self, end, float(getattr(self, end)))  # 1 and 1.0: one digest

    def position(self, value: float) -> float:
        """Place a value in the space: 0 at low, 1 at high, in logarithms where the space is so."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return (at - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value that a method or backbone takes; its type is that of its default.

    Attributes:
        name: the word used in studies, flags and MLflow.
        default: used where a study says nothing.
        help: one line for the user, with the source.
        low: smallest allowed number, itself excluded if `low_open`.
        high: largest allowed number, itself excluded if `high_open`.
        low_open: see `low`.
        high_open: see `high`.
        choices: the allowed words of a text.
        in_epochs: counts epochs, so that it is scaled when a study is shortened.
        must_come: names the first epoch of something, refused where a training ends before it.
        space: where a search looks unless the study says otherwise; None where it is not searched.
        neutral: value under which its owner is what it was before there was the parameter, for one
            that was added after a release; it is left out of digests, and never changes.
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
    must_come: bool = False
    space: Space | None = None
    neutral: Value | None = None

    @property
    def allowed(self) -> str:
        """Say which values are allowed, for people."""
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
        """Return the value in the parameter's type.

        Raises:
            FieldError: another type, or out of range.
        """
        checked = self._typed(value)
        if checked is None:
            raise FieldError(self.name, f"{self.name} must be {self.allowed}, got {value!r}")
        return checked

    def _typed(self, value: object) -> Value | None:
        if isinstance(self.default, bool):
            return value if isinstance(value, bool) else None
        if isinstance(self.default, str):
            return value if isinstance(value, str) and value in self.choices else None
        if isinstance(self.default, tuple):
            if isinstance(value, str) or not isinstance(value, Sequence) or not value:
                return None
            numbers = tuple(self._number(item) for item in value)
            return None if None in numbers else tuple(int(n) for n in numbers if n is not None)
        return self._number(value)

    def _number(self, value: object) -> float | int | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        whole = isinstance(self.default, int | tuple)
        if not math.isfinite(value) or (whole and value != int(value)):
            return None
        below = value <= self.low if self.low_open else value < self.low
        above = value >= self.high if self.high_open else value > self.high
        if below or above:
            return None
        return int(value) if whole else value + 0.0  # never -0.0, which would be another digest


def complete(owner: str, parameters: Sequence[Parameter], given: Mapping[str, object]) -> FrozenMap:
    """Check given values against their parameters and add the defaults of the others.

    Args:
        owner: who takes them, for the message: "method nal".
        parameters: all that it takes.
        given: what a study or a flag says.

    Raises:
        FieldError: an unknown name (with the nearest known) or a value that is not allowed.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            tail = suggest(name, known) if known else "it takes none"
            raise FieldError(name, f"{owner} has no parameter '{name}': {tail}")
    return FrozenMap(
        {
            name: parameter.check(given[name]) if name in given else parameter.default
            for name, parameter in known.items()
        }
    )


def without_neutral(values: FrozenMap, parameters: Sequence[Parameter]) -> dict[str, Value]:
    """Return values without those at their parameter's neutral value, as digests have them."""
    neutral = {p.name: p.neutral for p in parameters if p.neutral is not None}
    return {k: v for k, v in values.items() if k not in neutral or v != neutral[k]}


def with_neutral(values: FrozenMap, parameters: Sequence[Parameter]) -> FrozenMap:
    """Return values with the neutral ones that they lack, as records older than those do."""
    neutral = {p.name: p.neutral for p in parameters if p.neutral is not None}
    return FrozenMap({**neutral, **values})
