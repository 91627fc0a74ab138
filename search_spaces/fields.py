"""Fields of a study whose keys depend on what is chosen: backbones' and methods' parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field, PlainSerializer, PlainValidator

from trainables.backbones import backbone_of
from trainables.errors import FieldError, suggest
from trainables.methods import method_of
from trainables.run.parameters import FrozenMap, Parameter, Value, complete

RECIPE_VALUES: dict[str, Parameter] = {
    "learning_rate": Parameter(
        "learning_rate", default=0.1, low=0, low_open=True, help="base rate of the schedule"
    ),
    "weight_decay": Parameter("weight_decay", default=0.0, low=0, help="of the optimiser"),
}
"""Values of the recipe that can be searched with a method."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A backbone and its parameters, complete."""

    name: str
    parameters: FrozenMap

    @classmethod
    def read(cls, value: object) -> Architecture:
        """Read `{name: mlp, hidden: [128, 128]}`.

        Raises:
            FieldError: no mapping with a name, an unknown backbone, or a value it does not take.
        """
        keys = dict(_mapping(value, "a mapping like {name: resnet34}"))
        name = keys.pop("name", None)
        if not isinstance(name, str):
            raise FieldError("name", "is missing: write {name: BACKBONE}")
        with errors_at("name"):
            backbone = backbone_of(name)
        return cls(name, complete(f"backbone {name}", backbone.parameters, keys))

    def to_plain(self) -> dict[str, Any]:
        """Return what `read` reads."""
        return {"name": self.name, **listed(self.parameters)}


@dataclass(frozen=True, slots=True)
class Fixed:
    """Hyperparameters of one method that a study fixes.

    Attributes:
        values: those that it writes.
        preset: name of a published group of values for the others; None without one.
    """

    values: FrozenMap = field(default_factory=FrozenMap)
    preset: str | None = None

    @classmethod
    def read(cls, method: str, values: object) -> Fixed:
        """Read `{preset: official, alpha: 0.9}`.

        Raises:
            FieldError: an unknown preset or parameter, or a value that is not allowed.
        """
        keys = dict(_mapping(values, "a mapping like {alpha: 0.9}"))
        preset = keys.pop("preset", None)
        presets = method_of(method).presets
        if preset is not None and (not isinstance(preset, str) or preset not in presets):
            tail = suggest(str(preset), presets) if presets else "it has none"
            raise FieldError("preset", f"method {method} has no preset '{preset}': {tail}")
        return cls(_checked(method, parameters_of(method), keys), preset)


def parameters_of(method: str) -> dict[str, Parameter]:
    """Return a method's parameters by name.

    Raises:
        FieldError: an unknown method; its path is the name, as where methods are keys.
    """
    with errors_at(method):
        return {parameter.name: parameter for parameter in method_of(method).parameters}


def tunable_of(method: str) -> dict[str, Parameter]:
    """Return all that can be searched for a method, by name.

    Raises:
        FieldError: an unknown method.
    """
    return {**parameters_of(method), **RECIPE_VALUES}


def later(neutral: Any) -> Any:  # noqa: ANN401 - the type of the field
    """Declare a key that is added to the schema after a release.

    Args:
        neutral: its default, under which a study does what it did without the key. It never
            changes: a sweep's digest leaves the key out while it has this value.
    """
    return Field(default=neutral, json_schema_extra={"later": True})


def is_neutral(section: BaseModel, key: str) -> bool:
    """Tell whether a key was added later and has its neutral value."""
    known = type(section).model_fields[key]
    return known.json_schema_extra == {"later": True} and getattr(section, key) == known.default


@contextmanager
def errors_at(path: str) -> Iterator[None]:
    """Attribute errors raised inside to the key at a path."""
    try:
        yield
    except FieldError as error:
        raise FieldError(path, error.message) from error


@contextmanager
def errors_under(path: str) -> Iterator[None]:
    """Prefix the keys of errors raised inside with a path."""
    try:
        yield
    except FieldError as error:
        raise FieldError(f"{path}.{error.field}".strip("."), error.message) from error


def listed(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return values as YAML holds them: lists for tuples."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _mapping(value: object, shape: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise FieldError("", f"must be {shape}, got {value!r}")
    return value


def _checked(
    method: str, known: Mapping[str, Parameter], values: Mapping[str, object]
) -> FrozenMap:
    checked = complete(f"method {method}", list(known.values()), values)
    return FrozenMap({name: checked[name] for name in values})


def _read_reference(method: str, values: object) -> FrozenMap:
    return _checked(method, tunable_of(method), _mapping(values, "a mapping like {alpha: 0.9}"))


_SHAPE = "a mapping from methods to values, like {nal: {alpha: 0.9}}"


def _by_method(read: Callable[[str, object], Any], shape: str = _SHAPE) -> PlainValidator:
    def validated(value: object) -> dict[str, Any]:
        sections = _mapping(value, shape)
        for method in sections:
            parameters_of(method)
        by_method = {}
        for method, values in sections.items():
            with errors_under(method):
                by_method[method] = read(method, values)
        return by_method

    return PlainValidator(validated)


ArchitectureField = Annotated[
    Architecture,
    PlainValidator(Architecture.read),
    PlainSerializer(Architecture.to_plain, return_type=dict[str, Any]),
]
FixedField = Annotated[Mapping[str, Fixed], _by_method(Fixed.read)]
OverrideFixedField = Annotated[Mapping[str, Fixed], _by_method(Fixed.read, "a mapping")]
ReferenceField = Annotated[Mapping[str, FrozenMap], _by_method(_read_reference)]
"""Of what may be searched: a method's parameters, and values of the recipe."""
