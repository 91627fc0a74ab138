"""Fields of a study whose keys depend on what is chosen: backbones' and methods' parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from search_spaces.tunable import parameters_of, tunable_of, under
from trainables.backbones import backbone_of
from trainables.errors import FieldError
from trainables.parameters import FrozenMap, Parameter, Value, complete


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
        given = dict(_mapping(value, "a mapping like {name: resnet34}"))
        name = given.pop("name", None)
        if not isinstance(name, str):
            raise FieldError("name", "is missing: write {name: BACKBONE}")
        try:
            backbone = backbone_of(name)
        except FieldError as error:
            raise FieldError("name", error.message) from error
        return cls(name, complete(f"backbone {name}", backbone.parameters, given))

    def to_plain(self) -> dict[str, Any]:
        """Return what `read` reads."""
        return {"name": self.name, **listed(self.parameters)}


def _mapping(value: object, shape: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise FieldError("", f"must be {shape}, got {value!r}")
    return value


def listed(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return values as YAML holds them: lists for tuples."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _read_fixed(value: object) -> dict[str, FrozenMap]:
    return _read_values(value, parameters_of)


def _read_tuned(value: object) -> dict[str, FrozenMap]:
    return _read_values(value, tunable_of)


def _read_values(
    value: object, known: Callable[[str], dict[str, Parameter]]
) -> dict[str, FrozenMap]:
    shape = "a mapping from methods to values, like {nal: {alpha: 0.9}}"
    read = {}
    for method, given in _mapping(value, shape).items():
        parameters = known(method)
        with under(method):
            values = _mapping(given, "a mapping like {alpha: 0.9}")
            checked = complete(f"method {method}", list(parameters.values()), values)
            read[method] = FrozenMap({name: checked[name] for name in values})
    return read


ArchitectureField = Annotated[
    Architecture,
    PlainValidator(Architecture.read),
    PlainSerializer(Architecture.to_plain, return_type=dict[str, Any]),
]
_ValuesSerializer = PlainSerializer(
    lambda values: {name: listed(v) for name, v in values.items()}, return_type=dict[str, Any]
)
MethodValues = Annotated[Mapping[str, FrozenMap], PlainValidator(_read_fixed), _ValuesSerializer]
TunedValues = Annotated[Mapping[str, FrozenMap], PlainValidator(_read_tuned), _ValuesSerializer]
"""Of what may be searched: a method's parameters, and values of the recipe."""
