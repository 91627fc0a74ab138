"""Fields of a study whose keys depend on a choice: parameters of backbones and of methods."""

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
"""Values of the recipe that can be searched together with a method's hyperparameters."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A backbone with a value for each of its settings.

    Attributes:
        name: name of the backbone.
        parameters: value of each setting, such as the widths of the hidden layers (not the
            weights).
    """

    name: str
    parameters: FrozenMap

    @classmethod
    def read(cls, value: object) -> Architecture:
        """Return the architecture that a study writes as `{name: mlp, hidden: [128, 128]}`.

        Raises:
            FieldError: if the value is not a mapping with a name, the backbone is unknown, or a
                parameter is unknown or not allowed.
        """
        keys = dict(_require_mapping(value, "a mapping like {name: resnet34}"))
        name = keys.pop("name", None)
        if not isinstance(name, str):
            raise FieldError("name", "is missing: write {name: BACKBONE}")
        with errors_at("name"):
            backbone = backbone_of(name)
        return cls(name, complete(f"backbone {name}", backbone.parameters, keys))

    def to_plain(self) -> dict[str, Any]:
        """Return the architecture as the YAML values that `read` accepts."""
        return {"name": self.name, **yaml_values(self.parameters)}


@dataclass(frozen=True, slots=True)
class FixedValues:
    """Hyperparameters of one method that a study fixes.

    Attributes:
        values: values that the study writes.
        preset: name of a published group of values for the other hyperparameters; None for none.
    """

    values: FrozenMap = field(default_factory=FrozenMap)
    preset: str | None = None

    @classmethod
    def read(cls, method: str, values: object) -> FixedValues:
        """Return the fixed hyperparameters that a study writes as `{preset: official, alpha: 0.9}`.

        Raises:
            FieldError: if the preset or a parameter is unknown, or a value is not allowed.
        """
        keys = dict(_require_mapping(values, "a mapping like {alpha: 0.9}"))
        preset = keys.pop("preset", None)
        presets = method_of(method).presets
        if preset is not None and (not isinstance(preset, str) or preset not in presets):
            hint = suggest(str(preset), presets) if presets else "it has none"
            raise FieldError("preset", f"method {method} has no preset '{preset}': {hint}")
        return cls(_check_method_values(method, parameters_of(method), keys), preset)


def parameters_of(method: str) -> dict[str, Parameter]:
    """Return the parameters of a method by name.

    Raises:
        FieldError: if the method is unknown; the error's field is the name of the method, which
            suits sections whose keys are methods.
    """
    with errors_at(method):
        return {parameter.name: parameter for parameter in method_of(method).parameters}


def tunable_parameters_of(method: str) -> dict[str, Parameter]:
    """Return the parameters that can be searched for a method: its own and those of the recipe.

    Raises:
        FieldError: if the method is unknown.
    """
    return {**parameters_of(method), **RECIPE_VALUES}


def added_key(neutral: Any) -> Any:  # noqa: ANN401 - the type of the field
    """Return the pydantic field of a key that was added to the schema after a release.

    Args:
        neutral: default of the key, with which a study behaves as it did before the key existed.
            It must never change: a sweep's digest leaves the key out while it has this value.
    """
    return Field(default=neutral, json_schema_extra={"added": True})


def is_neutral(section: BaseModel, key: str) -> bool:
    """Return whether a key was added after a release and has its neutral value.

    Args:
        section: section of a study, or the study itself.
        key: name of one of the section's fields.
    """
    info = type(section).model_fields[key]
    return info.json_schema_extra == {"added": True} and getattr(section, key) == info.default


@contextmanager
def errors_at(key: str) -> Iterator[None]:
    """Name a dotted key as the field of each `FieldError` raised in the `with` block."""
    try:
        yield
    except FieldError as error:
        raise FieldError(key, error.message) from error


@contextmanager
def errors_under(key: str) -> Iterator[None]:
    """Put a dotted key before the field of each `FieldError` raised in the `with` block."""
    try:
        yield
    except FieldError as error:
        raise FieldError(f"{key}.{error.field}".strip("."), error.message) from error


def yaml_values(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return values as YAML values, with lists instead of tuples."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def _require_mapping(value: object, expected_form: str) -> Mapping[str, object]:
    """Return a value, or raise `FieldError` if it is not a mapping.

    Args:
        value: the value.
        expected_form: description of the mapping for the error message.
    """
    if not isinstance(value, Mapping):
        raise FieldError("", f"must be {expected_form}, got {value!r}")
    return value


def _check_method_values(
    method: str, parameters: Mapping[str, Parameter], values: Mapping[str, object]
) -> FrozenMap:
    """Check values against the parameters of a method and return them, without adding defaults."""
    checked = complete(f"method {method}", list(parameters.values()), values)
    return FrozenMap({name: checked[name] for name in values})


def _read_reference(method: str, values: object) -> FrozenMap:
    mapping = _require_mapping(values, "a mapping like {alpha: 0.9}")
    return _check_method_values(method, tunable_parameters_of(method), mapping)


_METHOD_MAPPING = "a mapping from methods to values, like {nal: {alpha: 0.9}}"


def _method_mapping_validator(
    read: Callable[[str, object], Any], expected_form: str = _METHOD_MAPPING
) -> PlainValidator:
    """Return the validator of a mapping from method names to sections.

    Args:
        read: function that converts the section of a method.
        expected_form: description of the mapping for the error message.
    """

    def validate(value: object) -> dict[str, Any]:
        sections = _require_mapping(value, expected_form)
        for method in sections:
            parameters_of(method)
        by_method = {}
        for method, values in sections.items():
            with errors_under(method):
                by_method[method] = read(method, values)
        return by_method

    return PlainValidator(validate)


ArchitectureField = Annotated[
    Architecture,
    PlainValidator(Architecture.read),
    PlainSerializer(Architecture.to_plain, return_type=dict[str, Any]),
]
FixedValuesField = Annotated[Mapping[str, FixedValues], _method_mapping_validator(FixedValues.read)]
OverrideFixedValuesField = Annotated[
    Mapping[str, FixedValues], _method_mapping_validator(FixedValues.read, "a mapping")
]
ReferenceField = Annotated[Mapping[str, FrozenMap], _method_mapping_validator(_read_reference)]
"""Reference by method: values of the method's hyperparameters and of `RECIPE_VALUES`."""
