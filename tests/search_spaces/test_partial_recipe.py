"""Parts of recipes, laid over one another."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from pydantic import TypeAdapter

from search_spaces.partial_recipe import PartialRecipe, RecipeField
from trainables.errors import FieldError
from trainables.run.recipe import Recipe
from trainables.run.schedules import Constant, CosineRestarts

READ = TypeAdapter[PartialRecipe](RecipeField)
BASE = {
    "epochs": 50,
    "batch_size": 8,
    "learning_rate": 0.1,
    "schedule": {"kind": "cosine-restarts", "period": 10, "minimum": 1e-3},
    "mean": [0.5],
    "std": [0.2],
}


def part(**keys: Any) -> PartialRecipe:
    return READ.validate_json(json.dumps(keys), strict=True)


def test_every_key_of_a_recipe_can_be_written_alone() -> None:
    for one in fields(Recipe):
        keys = {"schedule": {}} if one.name == "schedule" else {one.name: None}
        assert list(part(**keys).values) == [one.name]


def test_a_part_keeps_what_it_does_not_say() -> None:
    laid = part(epochs=5, schedule={"period": 3}).over(part(**BASE)).complete()
    assert laid.epochs == 5
    assert laid.batch_size == 8
    assert laid.schedule == CosineRestarts(3, 1e-3)
    assert laid.mean == (0.5,)


def test_a_schedule_of_another_kind_takes_nothing_over() -> None:
    laid = part(schedule={"kind": "constant"}).over(part(**BASE)).complete()
    assert laid.schedule == Constant()


def test_null_takes_back() -> None:
    laid = part(mean=None, std=None, schedule=None).over(part(**BASE)).complete()
    assert (laid.mean, laid.std, laid.schedule) == (None, None, Constant())
    with pytest.raises(FieldError) as refused:
        part(epochs=None).over(part(**BASE)).complete()
    assert (refused.value.field, refused.value.message) == ("epochs", "is missing")


def test_what_is_laid_over_is_what_is_written_and_not_what_follows_from_it() -> None:
    """A window is cut to the epochs, and is whole again in a longer training."""
    short = part(**{**BASE, "epochs": 5, "window": 10})
    assert short.complete().window == 5
    assert part(epochs=30).over(short).complete().window == 10


@pytest.mark.parametrize(
    ("schedule", "field", "message"),
    [
        ({"kind": "multistep"}, "schedule.milestones", "is missing"),
        ({"kind": "constant", "period": 3}, "schedule.period", "unknown key 'period'"),
        ({"perod": 3}, "schedule.perod", "unknown key 'perod': did you mean 'period'?"),
        ({"period": 0}, "schedule.period", "period must be at least 1, got 0"),
    ],
)
def test_faults_of_a_schedule_show_when_it_is_whole(
    schedule: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(FieldError) as refused:
        part(schedule=schedule).over(part(**BASE)).complete()
    assert refused.value.field == field
    assert refused.value.message.startswith(message)
