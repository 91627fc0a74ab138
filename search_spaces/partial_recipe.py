"""Part of a recipe in a study: some values, which take precedence over another recipe."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, GetPydanticSchema, create_model

from search_spaces.fields import errors_under
from trainables.errors import FieldError, suggest
from trainables.run.recipe import Recipe
from trainables.run.schedules import KINDS, Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

Instance = TypeVar("Instance", bound="DataclassInstance")


class PartialModel(BaseModel, frozen=True):
    """Some keys of a mapping, merged over another mapping; None removes a key of the latter."""

    @property
    def values(self) -> dict[str, Any]:
        """The keys that the study states, with their values."""
        names = [name for name in type(self).model_fields if name in self.model_fields_set]
        return {**{name: getattr(self, name) for name in names}, **(self.model_extra or {})}


class PartialSchedule(PartialModel, extra="allow"):
    """Some keys of a schedule.

    Unknown keys are refused by `complete` only, since the allowed ones depend on the kind of the
    schedule, which may be written in another part.
    """

    def over(self, below: PartialSchedule) -> PartialSchedule:
        """Return a schedule that takes its keys from this part, and missing ones from `below`.

        If the kinds of the schedules differ, nothing is taken from `below`.
        """
        values, inherited = self.values, below.values
        is_other_kind = (
            "kind" in values and "kind" in inherited and values["kind"] != inherited["kind"]
        )
        if is_other_kind:
            return self
        return _ScheduleKeys.model_construct(**_merge_keys(values, inherited))

    def complete(self) -> Schedule:
        """Return the schedule with these keys.

        Raises:
            FieldError: if the kind or a key is missing, unknown or not allowed.
        """
        values = {name: value for name, value in self.values.items() if value is not None}
        if "kind" not in values:
            raise FieldError("", f"kind is missing: {suggest('None', KINDS)}")
        return _instantiate(KINDS[values["kind"]], values)


class PartialRecipe(PartialModel, extra="forbid"):
    """Some keys of a recipe."""

    @property
    def names(self) -> set[str]:
        """Dotted names of the keys that the study states, such as `schedule.period`."""
        schedule = self.values.get("schedule")
        inner = schedule.values if isinstance(schedule, PartialSchedule) else {}
        return {*(self.values.keys() - {"schedule"}), *(f"schedule.{key}" for key in inner)}

    def over(self, below: PartialRecipe) -> PartialRecipe:
        """Return a part of a recipe with the keys of this part, and missing ones from `below`."""
        values, inherited = self.values, below.values
        merged = _merge_keys(values, inherited)
        if isinstance(values.get("schedule"), PartialSchedule) and "schedule" in inherited:
            merged["schedule"] = values["schedule"].over(inherited["schedule"])
        return _RecipeKeys.model_construct(**merged)

    def complete(self) -> Recipe:
        """Return the recipe, with the default of every key that is not written.

        Raises:
            FieldError: if a required key is missing, or a value is not allowed.
        """
        values = {name: value for name, value in self.values.items() if value is not None}
        if "schedule" in values:
            with errors_under("schedule"):
                values["schedule"] = values["schedule"].complete()
        return _instantiate(Recipe, values)


def _merge_keys(values: Mapping[str, Any], inherited: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of two mappings, the first taking precedence, without those set to None."""
    merged = {**inherited, **values}
    return {name: value for name, value in merged.items() if value is not None}


def _instantiate(cls: type[Instance], values: Mapping[str, Any]) -> Instance:
    """Return an instance of a dataclass, or raise `FieldError` for an unknown or missing key."""
    known = {field.name: field for field in fields(cls)}
    for name in values:
        if name not in known:
            raise FieldError(name, f"unknown key '{name}': {suggest(name, known)}")
    for name, field in known.items():
        if name not in values and field.default is MISSING:
            raise FieldError(name, "is missing")
    return cls(**values)


def _check_schedule_kind(kind: object) -> object:
    if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
        hint = suggest(str(kind), KINDS)
        raise FieldError("", f"unknown kind of schedule {kind!r}: {hint}")
    return kind


def _optional_fields(cls: type) -> dict[str, Any]:
    """Return pydantic definitions of a dataclass's fields, each optional with default None."""
    hints = get_type_hints(cls)
    return {field.name: (hints[field.name] | None, None) for field in fields(cls)}


_ScheduleKeys = create_model(
    "_ScheduleKeys",
    __base__=PartialSchedule,
    **{name: key for kind in KINDS.values() for name, key in _optional_fields(kind).items()}
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
