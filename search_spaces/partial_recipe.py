"""Recipes of which a study states only some keys; the others come from another recipe."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, GetPydanticSchema, create_model

from search_spaces.fields import prefix_error_field
from trainables.errors import FieldError, suggest
from trainables.run.recipe import Recipe
from trainables.run.schedules import SCHEDULE_KINDS, Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

Instance = TypeVar("Instance", bound="DataclassInstance")


class PartialModel(BaseModel, frozen=True):
    """Base class of recipes and schedules of which a study states only some keys.

    Stated keys take precedence over those of the recipe or schedule that supplies the missing keys.
    A key that is stated as None removes the key of the latter.
    """

    @property
    def stated_values(self) -> dict[str, Any]:
        """The values that the study states, by key."""
        names = [name for name in type(self).model_fields if name in self.model_fields_set]
        return {**{name: getattr(self, name) for name in names}, **(self.model_extra or {})}


class PartialSchedule(PartialModel, extra="allow"):
    """Learning-rate schedule of which a study states only some keys.

    Unknown keys are refused only by `complete`: the allowed keys depend on the kind of the
    schedule, which may be stated in the other schedule.
    """

    def merged_over(self, base: PartialSchedule) -> PartialSchedule:
        """Return a copy that takes missing keys from `base`, unless both state different kinds."""
        values, base_values = self.stated_values, base.stated_values
        is_other_kind = (
            "kind" in values and "kind" in base_values and values["kind"] != base_values["kind"]
        )
        if is_other_kind:
            return self
        return _ScheduleKeys.model_construct(**_merge_keys(values, base_values))

    def complete(self) -> Schedule:
        """Return the schedule with these keys, after checking that none is missing.

        Raises:
            FieldError: if the kind or a key is missing or unknown, or a value is not allowed.
        """
        values = {name: value for name, value in self.stated_values.items() if value is not None}
        if "kind" not in values:
            raise FieldError("", f"kind is missing: {suggest('None', SCHEDULE_KINDS)}")
        return _instantiate(SCHEDULE_KINDS[values["kind"]], values)


class PartialRecipe(PartialModel, extra="forbid"):
    """Recipe of which a study states only some keys."""

    @property
    def stated_keys(self) -> set[str]:
        """Dotted names of the keys that the study states, such as `schedule.period`."""
        schedule = self.stated_values.get("schedule")
        schedule_keys = schedule.stated_values if isinstance(schedule, PartialSchedule) else {}
        return {
            *(self.stated_values.keys() - {"schedule"}),
            *(f"schedule.{key}" for key in schedule_keys),
        }

    def merged_over(self, base: PartialRecipe) -> PartialRecipe:
        """Return a copy that takes missing keys, also those of its schedule, from `base`."""
        values, base_values = self.stated_values, base.stated_values
        merged = _merge_keys(values, base_values)
        if isinstance(values.get("schedule"), PartialSchedule) and "schedule" in base_values:
            merged["schedule"] = values["schedule"].merged_over(base_values["schedule"])
        return _RecipeKeys.model_construct(**merged)

    def complete(self) -> Recipe:
        """Return the recipe with these keys; each missing key has its default.

        Raises:
            FieldError: if a required key is missing, or a value is not allowed.
        """
        values = {name: value for name, value in self.stated_values.items() if value is not None}
        if "schedule" in values:
            with prefix_error_field("schedule"):
                values["schedule"] = values["schedule"].complete()
        return _instantiate(Recipe, values)


def _merge_keys(values: Mapping[str, Any], base_values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings, of which `values` takes precedence, and remove keys set to None."""
    merged = {**base_values, **values}
    return {name: value for name, value in merged.items() if value is not None}


def _instantiate(cls: type[Instance], values: Mapping[str, Any]) -> Instance:
    """Create an instance of a dataclass, or raise `FieldError` for an unknown or missing key."""
    known_fields = {field.name: field for field in fields(cls)}
    for name in values:
        if name not in known_fields:
            raise FieldError(name, f"unknown key '{name}': {suggest(name, known_fields)}")
    for name, field in known_fields.items():
        if name not in values and field.default is MISSING:
            raise FieldError(name, "is missing")
    return cls(**values)


def _check_schedule_kind(kind: object) -> object:
    """Return the kind of a schedule unchanged, or raise `FieldError` if no such kind exists."""
    if kind is not None and (not isinstance(kind, str) or kind not in SCHEDULE_KINDS):
        hint = suggest(str(kind), SCHEDULE_KINDS)
        raise FieldError("", f"unknown kind of schedule {kind!r}: {hint}")
    return kind


def _optional_fields(cls: type) -> dict[str, Any]:
    """Return definitions of a dataclass's fields for pydantic, each optional with default None."""
    hints = get_type_hints(cls)
    return {field.name: (hints[field.name] | None, None) for field in fields(cls)}


_ScheduleKeys = create_model(
    "_ScheduleKeys",
    __base__=PartialSchedule,
    **{
        name: key
        for kind in SCHEDULE_KINDS.values()
        for name, key in _optional_fields(kind).items()
    }
    | {"kind": (Annotated[str | None, BeforeValidator(_check_schedule_kind)], None)},
)
_RecipeKeys = create_model(
    "_RecipeKeys",
    __base__=PartialRecipe,
    **_optional_fields(Recipe) | {"schedule": (_ScheduleKeys | None, None)},
)
RecipeField = Annotated[
    PartialRecipe, GetPydanticSchema(lambda _source, handler: handler(_RecipeKeys))
]
"""Type of a key of a study that holds a partial recipe."""
