"""Overrides: values of single scenarios, and the places of their faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.loader import Change, load_study, parse_set_flag
from search_spaces.resolve import matched_recipe, resolve
from trainables.errors import StudyError
from trainables.run.schedules import CosineRestarts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXTRA_LINE = 32
"""Line of the small study at which tests insert overrides or recipes."""


def fault(path: Path, *changes: Change) -> str:
    with pytest.raises(StudyError) as error_info:
        load_study(str(path), changes)
    assert "\n" not in str(error_info.value)
    return str(error_info.value)


TWO_OVERRIDES = """\
overrides:
  - scenario: clean
    recipe: {epochs: 30}
  - scenario: symmetric-0.4
"""


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("recipe: {epoch: 30}", "recipe.epoch", "unknown key 'epoch': did you mean 'epochs'?"),
        ("recipe: 5", "recipe", "must be a mapping, got 5"),
        ("recipe: null", "recipe", "must be a mapping, got None"),
        ("hyperparameters: 5", "hyperparameters", "must be a mapping, got 5"),
        ("hyperparameters: {nal: 5}", "hyperparameters.nal", "must be a mapping like {alpha: 0.9}"),
        ("source: 5", "source", "must be a text, got 5"),
        ("recipee: {}", "recipee", "unknown key 'recipee': did you mean 'recipe'?"),
        ("recipe: {schedule: {kind: cosin}}", "recipe.schedule.kind", "unknown kind of schedule"),
        (
            "hyperparameters: {nal: {first_target_epoch: 99}}",
            "hyperparameters.nal.first_target_epoch",
            "first_target_epoch is 99, after the last epoch (60)",
        ),
        ("hyperparameters: {nall: {delta: 0}}", "hyperparameters.nall", "unknown method 'nall'"),
        (
            "hyperparameters: {nal: {preset: offical}}",
            "hyperparameters.nal.preset",
            "method nal has no preset 'offical': did you mean 'official'?",
        ),
        ("recipes: {ce: best}", "recipes.ce", "must be matched, published or a mapping"),
        ("recipes: {ce: {recipe: 3}}", "recipes.ce.recipe", "must be a mapping, got 3"),
        (
            "recipes: {ce: {selection: epoch chosen by noisy validation}}",
            "recipes.ce.hold_out",
            "must be above 0, since the recipe reports the epoch chosen by noisy validation",
        ),
        (
            "recipes: {nal: {hold_out: 0.1}}",
            "recipes.nal",
            "a tuned method must have the recipe 'matched'",
        ),
    ],
)
def test_a_fault_names_the_override_that_has_it(
    write_study: Callable[..., Path], text: str, key: str, message: str
) -> None:
    """The position is that in the study, not that in the export, which follows the scenarios."""
    path = write_study("select:\n", f"{TWO_OVERRIDES}    {text}\nselect:\n")
    assert fault(path).startswith(f"{path}:{EXTRA_LINE + 3}: overrides.1.{key}: {message}")


def test_a_fault_of_a_published_value_names_the_key_that_can_replace_it() -> None:
    with pytest.raises(StudyError) as error_info:
        load_study(
            "cifar10", [parse_set_flag("methods=[selc]"), parse_set_flag("recipe.epochs=35")]
        )
    assert ": hyperparameters.selc.first_target_epoch: first_target_epoch is 41" in str(
        error_info.value
    )


def test_an_unused_override_is_refused_unless_scenarios_were_narrowed(
    write_study: Callable[..., Path],
) -> None:
    path = write_study("select:\n", "overrides:\n  - scenario: symmetric-0.5\nselect:\n")
    assert fault(path) == (
        f"{path}:{EXTRA_LINE + 1}: overrides.0.scenario: 'symmetric-0.5' is not among the "
        "scenarios of the study: did you mean 'symmetric-0.4'? known: clean, symmetric-0.4"
    )
    path = write_study("select:\n", f"{TWO_OVERRIDES}select:\n")
    narrowed = load_study(str(path), [Change("scenarios", ["symmetric-0.4"], "--scenario")])
    assert narrowed.resolved_values["overrides"] == []
    above = path.with_name("above.yaml")
    above.write_text("extends: small.yaml\nscenarios: [symmetric-0.4]\n")
    assert load_study(str(above)).resolved_values["overrides"] == []


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("tune=[nal]", "lambda is also fixed, by reference.nal.lambda: remove one"),
        ("tune=[]", "lambda is also fixed, by reference.nal.lambda: remove one"),
        (
            "reference=null",
            "lambda is searched, so it cannot be fixed on some scenarios only: fix it in "
            "hyperparameters.nal, or remove it here",
        ),
    ],
)
def test_an_override_cannot_fix_a_searched_or_reference_value(
    write_study: Callable[..., Path], sets: str, message: str
) -> None:
    text = "overrides:\n  - scenario: clean\n    hyperparameters: {nal: {lambda: 1}}\nselect:\n"
    path = write_study("select:\n", text)
    assert fault(path, parse_set_flag(sets)) == (
        f"{path}:{EXTRA_LINE + 1}: overrides.0.hyperparameters.nal.lambda: {message}"
    )


def test_an_override_applies_a_preset_to_its_scenario_only(
    write_study: Callable[..., Path],
) -> None:
    text = (
        "overrides:\n  - scenario: clean\n"
        "    hyperparameters: {nal: {preset: paper, target_interval: 3}}\nselect:\n"
    )
    loaded = load_study(str(write_study("select:\n", text)))
    own = resolve(loaded.study, "nal", "clean").hyperparameters
    assert (own["first_target_epoch"], own["target_interval"], own["alpha"]) == (1, 3, 0.9)
    others = resolve(loaded.study, "nal", "symmetric-0.4").hyperparameters
    assert (others["first_target_epoch"], others["target_interval"]) == (10, 1)
    path = "overrides.0.hyperparameters.nal"
    assert loaded.sources[f"{path}.first_target_epoch"] == "preset paper: paper, Algorithm 1"
    assert loaded.sources[f"{path}.target_interval"].endswith(
        f"small.yaml:{EXTRA_LINE + 1}; preset paper has 1"
    )


def test_part_of_a_schedule_inherits_the_rest() -> None:
    text = "overrides=[{scenario: symmetric-0.8, recipe: {schedule: {period: 5}}}]"
    study = load_study("cifar10", [parse_set_flag(text)]).study
    assert resolve(study, "ce", "symmetric-0.8").recipe.schedule == CosineRestarts(5, 1e-3)
    assert resolve(study, "ce", "symmetric-0.2").recipe.schedule == CosineRestarts(10, 1e-3)
    text = "recipes.ce={recipe: {schedule: {period: 5}}}"
    study = load_study("cifar10", [parse_set_flag(text)]).study
    assert resolve(study, "ce", "symmetric-0.8").recipe.schedule == CosineRestarts(5, 1e-3)


def test_a_recipe_equal_to_the_studys_is_not_exported_as_an_override() -> None:
    text = "overrides=[{scenario: symmetric-0.4, recipe: {epochs: 60}}]"
    assert load_study("digits", [parse_set_flag(text)]).resolved_values["overrides"] == []


MIXED = """\
extends: cifar10
recipes: {elr: published, ce: {recipe: {epochs: 50}, hold_out: 0.2, source: a letter}}
overrides:
  - scenario: symmetric-0.[68]
    recipe: {mean: null, std: null, epochs: 300}
    hyperparameters: {nal: {preset: paper}}
    source: a talk
  - scenario: symmetric-0.8
    recipes: {elr: matched}
"""


def test_recipes_of_single_scenarios_survive_export(tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(MIXED)
    loaded = load_study(str(path))
    study = loaded.study
    epochs = [resolve(study, "elr", scenario).recipe.epochs for scenario in study.scenarios]
    assert epochs == [150, 150, 150, 300, 120]
    assert resolve(study, "elr", "symmetric-0.8").training.kind == "matched"
    assert [resolve(study, "ce", name).recipe.epochs for name in study.scenarios] == [50] * 5
    assert resolve(study, "ce", "symmetric-0.8").recipe.mean is None
    assert resolve(study, "ce", "symmetric-0.2").recipe.mean == matched_recipe(study).mean
    again = tmp_path / "again.yaml"
    for version in (loaded, loaded.with_epochs(50)):
        again.write_text(version.to_yaml())
        assert load_study(str(again)).resolved_values == version.resolved_values
        assert load_study(str(again)).sources == version.sources
