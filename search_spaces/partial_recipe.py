"""Part of a recipe, as a study writes it: what is laid over another recipe."""

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

Built = TypeVar("Built", bound="DataclassInstance")


class PartialModel(BaseModel, frozen=True):
    """Some keys of a mapping; the value None takes back what the part below says of a key."""

    @property
    def values(self) -> dict[str, Any]:
        """The keys that are written, with their values."""
        known = [name for name in type(self).model_fields if name in self.model_fields_set]
        return {**{name: getattr(self, name) for name in known}, **(self.model_extra or {})}


class PartialSchedule(PartialModel, extra="allow"):
    """Some keys of a schedule; which are known depends on the kind, so on what it is laid over."""

    def over(self, below: PartialSchedule) -> PartialSchedule:
        """Return this part laid over another; a schedule of another kind takes nothing over."""
        above, under = self.values, below.values
        other_kind = "kind" in above and "kind" in under and above["kind"] != under["kind"]
        return self if other_kind else _ScheduleKeys.model_construct(**_laid(above, under))

    def complete(self) -> Schedule:
        """Return the schedule.

        Raises:
            FieldError: the kind or a key is missing, unknown or not allowed.
        """
        values = {name: value for name, value in self.values.items() if value is not None}
        if "kind" not in values:
            raise FieldError("", f"kind is missing: {suggest('None', KINDS)}")
        return _built(KINDS[values["kind"]], values)


class PartialRecipe(PartialModel, extra="forbid"):
    """Some keys of a recipe."""

    @property
    def names(self) -> set[str]:
        """Names of the keys that are written, those of the schedule with a dot."""
        schedule = self.values.get("schedule")
        inner = schedule.values if isinstance(schedule, PartialSchedule) else {}
        return {*(self.values.keys() - {"schedule"}), *(f"schedule.{key}" for key in inner)}

    def over(self, below: PartialRecipe) -> PartialRecipe:
        """Return this part laid over another."""
        above, under = self.values, below.values
        laid = _laid(above, under)
        if isinstance(above.get("schedule"), PartialSchedule) and "schedule" in under:
            laid["schedule"] = above["schedule"].over(under["schedule"])
        return _RecipeKeys.model_construct(**laid)

    def complete(self) -> Recipe:
        """Return the recipe, with the defaults of what is not written.

        Raises:
            FieldError: a key is missing, or its value is not allowed.
        """
        values = {name: value for name, value in self.values.items() if value is not None}
        if "schedule" in values:
            with errors_under("schedule"):
                values["schedule"] = values["schedule"].complete()
        return _built(Recipe, values)


def _laid(above: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    laid = {**below, **above}
    return {name: value for name, value in laid.items() if value is not None}


def _built(kind: type[Built], values: Mapping[str, Any]) -> Built:
    known = {field.name: field for field in fields(kind)}
    for name in values:
        if name not in known:
            raise FieldError(name, f"unknown key '{name}': {suggest(name, known)}")
    for name, field in known.items():
        if name not in values and field.default is MISSING:
            raise FieldError(name, "is missing")
    return kind(**values)


def _check_kind(kind: object) -> object:
    if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
        tail = suggest(str(kind), KINDS)
        raise FieldError("", f"unknown kind of schedule {kind!r}: {tail}")
    return kind


def _optional(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: (hints[field.name] | None, None) for field in fields(kind)}


_ScheduleKeys = create_model(
    "_ScheduleKeys",
    __base__=PartialSchedule,
    **{name: key for kind in KINDS.values() for name, key in _optional(kind).items()}
    | {"kind": (Annotated[str | None, BeforeValidator(_check_kind)], None)},
)
_RecipeKeys = create_model(
    "_RecipeKeys",
    __base__=PartialRecipe,
    **_optional(Recipe) | {"schedule": (_ScheduleKeys | None, None)},
)
RecipeField = Annotated[
    PartialRecipe, GetPydanticSchema(lambda _source, handler: handler(_RecipeKeys))
]
