"""Settings of methods and backbones: their defaults, allowed values and search spaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from trainables.errors import FieldError, suggest
from trainables.run.identity import NEUTRAL_DEFAULT

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

    def scalar(self, key: str) -> Scalar:
        """Return the value of a key that is no list.

        Raises:
            TypeError: if the value is a tuple.
        """
        value = self._items[key]
        if isinstance(value, tuple):
            raise TypeError(f"{key} is a list: {value!r}")
        return value


Conditions = Mapping[str, tuple[Scalar, ...]]
"""Values of other searched parameters under which a parameter is searched, by parameter name."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Normal distribution around the reference, from which a search draws its first values.

    The distribution is truncated to the search space, whose bounds remain those of the search.

    Attributes:
        width: standard deviation as a fraction of the width of the interval, on the scale of the
            interval (linear or logarithmic).
    """

    width: float

    def __post_init__(self) -> None:
        if not 0 < self.width < math.inf:
            raise FieldError("width", f"width must be a number above 0, got {self.width:g}")
        object.__setattr__(self, "width", float(self.width))


@dataclass(frozen=True, slots=True)
class Space:
    """Search space of one numeric hyperparameter: the interval [low, high].

    Attributes:
        low: lower bound of the interval.
        high: upper bound of the interval.
        log: whether values are sampled uniformly on a logarithmic scale.
        integer: whether the values are integers, as those of the parameter are.
        when: values of other searched parameters under which the parameter is searched; None if it
            is searched always. A single value stands for a list of one.
        prior: distribution of the first values; None for a uniform one.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = field(default=False, metadata=NEUTRAL_DEFAULT)
    when: Conditions | None = field(default=None, hash=False, metadata=NEUTRAL_DEFAULT)
    prior: Prior | None = field(default=None, metadata=NEUTRAL_DEFAULT)

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise FieldError("high", f"high must be above low ({self.low:g}), got {self.high:g}")
        if self.log and self.low <= 0:
            raise FieldError("low", f"low must be above 0 if log is true, got {self.low:g}")
        for bound in ("low", "high"):  # of one type, so that 1 and 1.0 share one digest
            value = getattr(self, bound)
            if self.integer and value != int(value):
                raise FieldError(bound, f"{bound} must be an integer, got {value:g}")
            object.__setattr__(self, bound, int(value) if self.integer else float(value))
        object.__setattr__(self, "when", _normalise_conditions(self.when))

    def __str__(self) -> str:
        """Format the interval, as in "[0.5, 0.99]"."""
        return f"[{self.low:g}, {self.high:g}]"

    @property
    def ends(self) -> tuple[Scalar, Scalar]:
        """The first and the last value of the space."""
        return self.low, self.high

    def __contains__(self, value: object) -> bool:
        """Return whether a value lies in the interval, and is an integer if all values are."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (not self.integer or value == int(value))

    def clip(self, value: Scalar) -> float:
        """Return the value of the interval nearest a number."""
        number = int(value) if self.integer else float(value)
        return min(max(number, self.low), self.high)

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
        return self.clip(round(value) if self.integer else value)

    def distance(self, first: Scalar, second: Scalar) -> float:
        """Return the distance of two values: that of their positions in the interval."""
        return abs(self.position(float(first)) - self.position(float(second)))


@dataclass(frozen=True, slots=True)
class ChoiceSpace:
    """Search space of one hyperparameter whose values have no order: a list of values.

    Attributes:
        choices: values that a search tries; at least two.
        when: values of other searched parameters under which the parameter is searched; None if it
            is searched always. A single value stands for a list of one.
    """

    choices: tuple[Scalar, ...]
    when: Conditions | None = field(default=None, hash=False, metadata=NEUTRAL_DEFAULT)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        for position, choice in enumerate(self.choices):
            if choice in self.choices[:position]:
                raise FieldError(f"choices.{position}", f"{choice} is given twice: remove one")
        if len(self.choices) < 2:
            raise FieldError(
                "choices", f"choices must have at least two values, got {len(self.choices)}"
            )
        object.__setattr__(self, "when", _normalise_conditions(self.when))

    def __str__(self) -> str:
        """Format the choices, as in "{soft, hard}"."""
        return f"{{{', '.join(map(format_value, self.choices))}}}"

    @property
    def ends(self) -> tuple[Scalar, Scalar]:
        """The first and the last value of the space."""
        return self.choices[0], self.choices[-1]

    def __contains__(self, value: object) -> bool:
        """Return whether a value is one of the choices; true is not 1."""
        return any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool)
            for choice in self.choices
        )

    def distance(self, first: Scalar, second: Scalar) -> float:
        """Return the distance of two values: 0 if they are the same, otherwise 1."""
        return float(first != second)


AnySpace = Space | ChoiceSpace
"""Search space of a hyperparameter: an interval of numbers, or a list of values."""


def space_from_json(values: Mapping[str, Any]) -> AnySpace:
    """Return a space from the values that `identity_of` has returned for it.

    Raises:
        TypeError: if the values have other keys than a space.
        FieldError: if the values are not allowed.
    """
    if "choices" in values:
        return ChoiceSpace(**values)
    prior = values.get("prior")
    return Space(**{**values, "prior": prior and Prior(**prior)})


def _normalise_conditions(
    when: Mapping[str, Scalar | Sequence[Scalar]] | None,
) -> Conditions | None:
    """Return conditions with a tuple of values for each parameter; None without conditions."""
    return {
        name: (values,) if isinstance(values, bool | int | float | str) else tuple(values)
        for name, values in (when or {}).items()
    } or None


def condition_order(spaces: Mapping[str, AnySpace]) -> list[str]:
    """Return the names of searched parameters, each after those that its conditions name.

    Raises:
        FieldError: if conditions name each other in a circle.
    """
    graph = {name: list(space.when or ()) for name, space in spaces.items()}
    try:
        return [name for name in TopologicalSorter(graph).static_order() if name in spaces]
    except CycleError as error:
        circle = error.args[1]
        raise FieldError(
            f"{circle[0]}.when", f"conditions form a circle: {' -> '.join(reversed(circle))}"
        ) from error


def active_spaces(
    spaces: Mapping[str, AnySpace], values: Mapping[str, Value]
) -> dict[str, AnySpace]:
    """Return the spaces whose conditions are met, in the order of `spaces`.

    Args:
        spaces: search space by name of hyperparameter.
        values: values of the searched parameters, at least of those that conditions name. A
            condition on a parameter that is itself not active is not met.
    """
    active: set[str] = set()
    for name in condition_order(spaces):
        conditions = (spaces[name].when or {}).items()
        if all(other in active and values.get(other) in allowed for other, allowed in conditions):
            active.add(name)
    return {name: space for name, space in spaces.items() if name in active}


def check_conditions(spaces: Mapping[str, AnySpace]) -> None:
    """Check that conditions name searched parameters with choices or integers, and their values.

    Args:
        spaces: search space by name of hyperparameter.

    Raises:
        FieldError: if a condition can not be met, or conditions form a circle.
    """
    for name, space in spaces.items():
        for other, allowed in (space.when or {}).items():
            field_name = f"{name}.when.{other}"
            if other not in spaces:
                raise FieldError(
                    field_name,
                    f"{name} depends on {other}, which is not searched: add a space for {other}, "
                    f"or remove the condition; {suggest(other, spaces)}",
                )
            parent = spaces[other]
            if isinstance(parent, Space) and not parent.integer:
                raise FieldError(
                    field_name,
                    f"{name} depends on {other}, which is a real number: a condition names a "
                    "parameter with choices or integers",
                )
            unknown = [value for value in allowed if value not in parent]
            if unknown or not allowed:
                raise FieldError(
                    field_name,
                    f"{format_value(unknown[0]) if unknown else 'an empty list'} is no value that "
                    f"is searched for {other}: use values of {parent}",
                )
    condition_order(spaces)


def format_value(value: Scalar) -> str:
    """Return the text of a value in messages, such as "0.9", "hard" or "true", as in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


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
    space: AnySpace | None = None
    neutral: Value | None = None

    def __post_init__(self) -> None:
        if self.space is not None:
            object.__setattr__(self, "space", self.fit_space(self.space))

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

    def fit_space(self, space: AnySpace) -> AnySpace:
        """Check a search space, and return it with values of the parameter's type.

        Raises:
            FieldError: if the parameter does not have such values; the field is one of the space.
        """
        if isinstance(self.default, tuple):
            raise FieldError("", f"{self.name} is a list, which cannot be searched")
        if isinstance(space, ChoiceSpace):
            choices = [
                self._check_part(f"choices.{position}", choice)
                for position, choice in enumerate(space.choices)
            ]
            return replace(space, choices=tuple(choices))
        if isinstance(self.default, bool | str):
            raise FieldError(
                "low",
                f"{self.name} must be {self.allowed}, which is no interval: list the values, like "
                f"choices: [{', '.join(self.choices) or 'true, false'}]",
            )
        self._check_part("low", space.low)
        self._check_part("high", space.high)
        return replace(space, integer=isinstance(self.default, int))

    def _check_part(self, field_name: str, value: Scalar) -> Scalar:
        """Check a value of a search space; the field of the error is that of the space."""
        converted = self._convert(value)
        if converted is None or isinstance(converted, tuple):
            raise FieldError(field_name, f"{self.name} must be {self.allowed}, got {value!r}")
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
