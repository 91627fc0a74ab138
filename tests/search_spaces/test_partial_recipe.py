"""Parts of recipes, merged over one another."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from pydantic import TypeAdapter

from search_spaces.partial_recipe import PartialRecipe, RecipeField
from trainables.errors import FieldError
from trainables.run.recipe import Recipe
from trainables.run.schedules import ConstantSchedule, CosineRestarts

ADAPTER = TypeAdapter[PartialRecipe](RecipeField)
BASE = {
    "epochs": 50,
    "batch_size": 8,
    "learning_rate": 0.1,
    "schedule": {"kind": "cosine-restarts", "period": 10, "minimum": 1e-3},
    "mean": [0.5],
    "std": [0.2],
}


def part(**keys: Any) -> PartialRecipe:
    return ADAPTER.validate_json(json.dumps(keys), strict=True)


def test_every_key_of_a_recipe_can_be_written_alone() -> None:
    for field in fields(Recipe):
        value: dict[str, object] | None = {} if field.name == "schedule" else None
        assert list(part(**{field.name: value}).stated_values) == [field.name]


def test_a_part_inherits_the_keys_that_it_does_not_set() -> None:
    recipe = part(epochs=5, schedule={"period": 3}).merged_over(part(**BASE)).complete()
    assert recipe.epochs == 5
    assert recipe.batch_size == 8
    assert recipe.schedule == CosineRestarts(3, 1e-3)
    assert recipe.mean == (0.5,)


def test_a_schedule_of_another_kind_inherits_nothing() -> None:
    recipe = part(schedule={"kind": "constant"}).merged_over(part(**BASE)).complete()
    assert recipe.schedule == ConstantSchedule()


def test_null_removes_an_inherited_key() -> None:
    recipe = part(mean=None, std=None, schedule=None).merged_over(part(**BASE)).complete()
    assert (recipe.mean, recipe.std, recipe.schedule) == (None, None, ConstantSchedule())
    with pytest.raises(FieldError) as error_info:
        part(epochs=None).merged_over(part(**BASE)).complete()
    assert (error_info.value.field, error_info.value.message) == ("epochs", "is missing")


def test_merging_uses_the_written_values_not_the_derived_ones() -> None:
    """A window is limited to the epochs, and has its full length in a longer training."""
    short = part(**{**BASE, "epochs": 5, "window": 10})
    assert short.complete().window == 5
    assert part(epochs=30).merged_over(short).complete().window == 10


@pytest.mark.parametrize(
    ("schedule", "field", "message"),
    [
        ({"kind": "multistep"}, "schedule.milestones", "is missing"),
        ({"kind": "constant", "period": 3}, "schedule.period", "unknown key 'period'"),
        ({"perod": 3}, "schedule.perod", "unknown key 'perod': did you mean 'period'?"),
        ({"period": 0}, "schedule.period", "period must be at least 1, got 0"),
    ],
)
def test_faults_of_a_schedule_are_found_when_it_is_completed(
    schedule: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(FieldError) as error_info:
        part(schedule=schedule).merged_over(part(**BASE)).complete()
    assert error_info.value.field == field
    assert error_info.value.message.startswith(message)
