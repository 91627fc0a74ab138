"""Types of a study's keys whose parameters depend on the chosen backbone or method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field, PlainSerializer, PlainValidator

from trainables.backbones import backbone_of
from trainables.errors import FieldError, suggest
from trainables.methods import method_of
from trainables.run.parameters import FrozenMap, Parameter, Scalar, Value, complete_parameters
from trainables.texts import short_value

RECIPE_PARAMETERS: dict[str, Parameter] = {
    "learning_rate": Parameter(
        "learning_rate", default=0.1, low=0, low_open=True, help="base rate of the schedule"
    ),
    "weight_decay": Parameter("weight_decay", default=0.0, low=0, help="of the optimiser"),
}
"""Parameters of the recipe that can be searched together with a method's hyperparameters."""

MAX_AXIS_LENGTH = 10_000
"""Largest number of values of one hyperparameter on a grid."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Backbone network with a value for each of its settings.

    Attributes:
        name: name of the backbone.
        parameters: value of each setting, such as the widths of the hidden layers (not the
            weights).
    """

    name: str
    parameters: FrozenMap

    @classmethod
    def read(cls, yaml_value: object) -> Architecture:
        """Create an architecture from its entry in a study, `{name: mlp, hidden: [128, 128]}`.

        Raises:
            FieldError: if the entry is not a mapping with a name, the backbone is unknown, or a
                parameter is unknown or not allowed.
        """
        keys = dict(require_mapping(yaml_value, "a mapping like {name: resnet34}"))
        name = keys.pop("name", None)
        if not isinstance(name, str):
            raise FieldError("name", "is missing: write {name: BACKBONE}")
        with replace_error_field("name"):
            backbone = backbone_of(name)
        return cls(name, complete_parameters(f"backbone {name}", backbone.parameters, keys))

    def to_yaml_values(self) -> dict[str, Any]:
        """Return the YAML values from which `read` creates the same architecture."""
        return {"name": self.name, **yaml_values(self.parameters)}


@dataclass(frozen=True, slots=True)
class FixedValues:
    """Hyperparameters of one method that a study fixes.

    Attributes:
        values: values that the study states, by hyperparameter.
        preset: name of a published group of values, used for the other hyperparameters; None for
            no preset.
    """

    values: FrozenMap = field(default_factory=FrozenMap)
    preset: str | None = None

    @classmethod
    def read(cls, method: str, yaml_section: object) -> FixedValues:
        """Create fixed values from their entry in a study, `{preset: official, alpha: 0.9}`.

        Raises:
            FieldError: if the preset or a parameter is unknown, or a value is not allowed.
        """
        keys = dict(require_mapping(yaml_section, "a mapping like {alpha: 0.9}"))
        preset = keys.pop("preset", None)
        presets = method_of(method).presets
        if preset is not None and (not isinstance(preset, str) or preset not in presets):
            hint = suggest(str(preset), presets) if presets else "this method has no presets"
            raise FieldError("preset", f"method {method} has no preset '{preset}': {hint}")
        return cls(_check_method_values(method, parameters_of(method), keys), preset)


def parameters_of(method: str) -> dict[str, Parameter]:
    """Return the parameters of a method by name.

    Raises:
        FieldError: if the method is unknown; the error's field is the method's name, as in
            sections of a study whose keys are methods.
    """
    with replace_error_field(method):
        return {parameter.name: parameter for parameter in method_of(method).parameters}


def tunable_parameters_of(method: str) -> dict[str, Parameter]:
    """Return the parameters that a search can vary: those of the method and of the recipe.

    Raises:
        FieldError: if the method is unknown.
    """
    return {**parameters_of(method), **RECIPE_PARAMETERS}


def field_added_later(neutral_value: Any) -> Any:  # noqa: ANN401 - the type of the field
    """Declare a key that was added to the schema after a release, as a pydantic field.

    Args:
        neutral_value: default of the key, with which a study behaves as it did before the key
            existed. The default must never change: the key is left out of the digest of a sweep
            while it has this value.
    """
    return Field(default=neutral_value, json_schema_extra={"added": True})


def has_neutral_value(section: BaseModel, key: str) -> bool:
    """Return whether a key declared with `field_added_later` has its neutral value.

    Args:
        section: section of a study, or the study itself.
        key: name of one of the section's fields.
    """
    field_info = type(section).model_fields[key]
    is_added = field_info.json_schema_extra == {"added": True}
    return is_added and getattr(section, key) == field_info.default


@contextmanager
def replace_error_field(key: str) -> Iterator[None]:
    """Set the field of each `FieldError` raised in the `with` block to a dotted key."""
    try:
        yield
    except FieldError as error:
        raise FieldError(key, error.message) from error


@contextmanager
def prefix_error_field(key: str) -> Iterator[None]:
    """Prefix the field of each `FieldError` raised in the `with` block with a dotted key."""
    try:
        yield
    except FieldError as error:
        raise FieldError(f"{key}.{error.field}".strip("."), error.message) from error


def yaml_values(values: Mapping[str, Value]) -> dict[str, Any]:
    """Convert hyperparameter values to YAML values: tuples become lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def require_mapping(value: object, expected_form: str) -> Mapping[str, object]:
    """Return a YAML value unchanged, or raise `FieldError` if it is not a mapping.

    Args:
        value: value of any type.
        expected_form: description of the mapping for the error message.
    """
    if not isinstance(value, Mapping):
        raise FieldError("", f"must be {expected_form}, got {value!r}")
    return value


def _check_method_values(
    method: str, parameters: Mapping[str, Parameter], values: Mapping[str, object]
) -> FrozenMap:
    """Return hyperparameters of a method after checking them, without adding defaults."""
    checked_values = complete_parameters(f"method {method}", list(parameters.values()), values)
    return FrozenMap({name: checked_values[name] for name in values})


def _read_reference(method: str, yaml_section: object) -> FrozenMap:
    """Return the reference (the paper's values) that a study states for a method, checked."""
    mapping = require_mapping(yaml_section, "a mapping like {alpha: 0.9}")
    return _check_method_values(method, tunable_parameters_of(method), mapping)


_METHOD_MAPPING_FORM = "a mapping from methods to values, like {nal: {alpha: 0.9}}"
"""Default description, in error messages, of a mapping whose keys are methods."""


def method_mapping_validator(
    read_section: Callable[[str, object], Any], expected_form: str = _METHOD_MAPPING_FORM
) -> PlainValidator:
    """Return a pydantic validator for a section of a study whose keys are methods.

    Args:
        read_section: function that converts the YAML value of one method, given its name and value.
        expected_form: description of the mapping for the error message.
    """

    def validate(value: object) -> dict[str, Any]:
        sections = require_mapping(value, expected_form)
        for method in sections:
            parameters_of(method)
        values_by_method = {}
        for method, values in sections.items():
            with prefix_error_field(method):
                values_by_method[method] = read_section(method, values)
        return values_by_method

    return PlainValidator(validate)


@dataclass(frozen=True, slots=True)
class Deviation:
    """Difference from a publication or its public code, with the condition under which it holds.

    Conditions map dotted keys to values that are compared as `deviations.applicable_deviations`
    describes.

    Attributes:
        text: sentence that tables print.
        when: values that must be there, all of them, for the deviation to hold.
        unless: values with which the deviation does not hold, if all of them are there.
    """

    text: str
    when: Mapping[str, Value | None] = field(default_factory=dict)
    unless: Mapping[str, Value | None] = field(default_factory=dict)


DEVIATION_KEYS = ("text", "when", "unless")
"""Keys of a deviation that has a condition."""


def _read_deviation(yaml_value: object) -> Deviation:
    """Create a deviation from its entry in a study, a sentence or a mapping with a condition.

    Raises:
        FieldError: if the entry has no text, an unknown key, or a condition that is not a mapping.
    """
    if isinstance(yaml_value, str):
        return Deviation(yaml_value)
    keys: dict[str, Any] = dict(
        require_mapping(yaml_value, "a text or a mapping like {text: ..., when: {methods: nal}}")
    )
    for key in keys:
        if key not in DEVIATION_KEYS:
            raise FieldError(key, f"unknown key '{key}': {suggest(key, DEVIATION_KEYS)}")
    if not isinstance(keys.get("text"), str):
        raise FieldError("text", "must be a text that says what deviates")
    for key in keys.keys() & {"when", "unless"}:
        with prefix_error_field(key):
            require_mapping(keys[key], "a mapping like {hyperparameters.nal.clamps: false}")
    return Deviation(**keys)


GridAxis = int | tuple[Scalar, ...]
"""Values of one hyperparameter on a grid, or their number."""


def _read_grid_axis(yaml_value: object) -> GridAxis:
    """Return the values of one hyperparameter on a grid, or their number.

    Raises:
        FieldError: if the entry is neither a list of values nor an integer above 1.
    """
    match yaml_value:
        case [_, *_]:
            values = tuple(value for value in yaml_value if isinstance(value, Scalar))
            if len(values) == len(yaml_value):
                return values
        case int() if 2 <= yaml_value <= MAX_AXIS_LENGTH:
            return yaml_value
    raise FieldError(
        "",
        f"must be a list of values, or the number of values, from 2 to {MAX_AXIS_LENGTH}, got "
        f"{short_value(yaml_value)}",
    )


def _grid_axis_yaml_value(axis: GridAxis) -> int | list[Scalar]:
    """Return the YAML value from which `_read_grid_axis` creates the same axis."""
    return axis if isinstance(axis, int) else list(axis)


GridAxisField = Annotated[
    GridAxis,
    PlainValidator(_read_grid_axis),
    PlainSerializer(_grid_axis_yaml_value, return_type=Any),
]
DeviationField = Annotated[Deviation, PlainValidator(_read_deviation)]
ArchitectureField = Annotated[
    Architecture,
    PlainValidator(Architecture.read),
    PlainSerializer(Architecture.to_yaml_values, return_type=dict[str, Any]),
]
FixedValuesField = Annotated[Mapping[str, FixedValues], method_mapping_validator(FixedValues.read)]
OverrideFixedValuesField = Annotated[
    Mapping[str, FixedValues], method_mapping_validator(FixedValues.read, "a mapping")
]
ReferenceField = Annotated[Mapping[str, FrozenMap], method_mapping_validator(_read_reference)]
"""Field that maps a method to its reference: the paper's values of the searched parameters."""
