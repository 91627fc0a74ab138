from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from trainables.errors import FieldError, RecordError
from trainables.methods import method_of
from trainables.run.identity import canonical_json
from trainables.run.parameters import FrozenMap, complete_parameters
from trainables.run.recipe import Recipe
from trainables.run.schedules import CosineRestarts, MultiStep
from trainables.run.seeds import RANDOM_AXES, Seeds
from trainables.run.spec import REVISION, RunSpec, check_revision

SPEC = RunSpec(
    dataset="cifar10",
    data="d" * 64,
    subset=None,
    scenario="symmetric-0.4",
    backbone="resnet34",
    backbone_parameters=FrozenMap({"hidden": (128, 64)}),
    method="nal",
    hyperparameters=complete_parameters("method nal", method_of("nal").parameters, {"lambda": 10}),
    recipe=Recipe(
        epochs=120,
        batch_size=64,
        learning_rate=0.02,
        weight_decay=1e-3,
        schedule=CosineRestarts(10, 1e-3),
        augmentation=("crop", "flip"),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.201),
    ),
    hold_out=0.1,
    evaluate=("val",),
    seeds=Seeds.from_base_seed(0, noise=5),
    revision=1,
)

# Digest of the spec above; if it changes, recorded runs are no longer found.
DIGEST = "9f0a454c0f6503975e13823293bdf10b95a7afa02b819e7de06a2cde6ee6bde2"
CANONICAL = (
    '{"backbone":"resnet34","backbone_parameters":{"hidden":[128,64]},'
    '"data":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",'
    '"dataset":"cifar10","evaluate":["val"],"hold_out":0.1,"hyperparameters":{"alpha":0.9,'
    '"beta":0.0,"clamps":false,"delta":0.0,'
    '"first_target_epoch":1,"lambda":10.0,"target_interval":1},'
    '"method":"nal","recipe":{"augmentation":["crop","flip"],"batch_size":64,"epochs":120,'
    '"evaluate_every":1,"learning_rate":0.02,"mean":[0.4914,0.4822,0.4465],"momentum":0.9,'
    '"optimizer":"sgd","precision":"float32","schedule":{"kind":"cosine-restarts",'
    '"minimum":0.001,"period":10},"std":[0.2023,0.1994,0.201],'
    '"weight_decay":0.001,"window":10},"revision":1,"scenario":"symmetric-0.4",'
    '"seeds":{"augment":0,"init":0,"method":0,"noise":5,"order":0,"split":0,"subset":0},'
    '"subset":null,"threads":1}'
)

CHANGED: dict[str, Any] = {
    "balanced": True,
    "unreadable": "skip",
    "dataset": "cifar100",
    "data": "0" * 64,
    "subset": 1000,
    "test_subset": 500,
    "scenario": "clean",
    "annotations": "1" * 64,
    "backbone": "mlp",
    "backbone_parameters": FrozenMap({"hidden": (128, 65)}),
    "method": "ce",
    "hyperparameters": complete_parameters(
        "method nal", method_of("nal").parameters, {"lambda": 10.1}
    ),
    "hold_out": 0.2,
    "evaluate": ("val", "test"),
    "needs": FrozenMap({"labels": "2" * 64}),
    "code": FrozenMap({"Mine@333333333333": "3" * 64}),
    "threads": 2,
    "revision": 2,
}
CHANGED_RECIPE: dict[str, Any] = {
    "drop_last": True,
    "crop_size": 224,
    "crop_padding": 8,
    "epochs": 121,
    "batch_size": 65,
    "learning_rate": 0.03,
    "optimizer": "radam",
    "momentum": 0.8,
    "weight_decay": 0.0,
    "nesterov": True,
    "reset_optimizer": True,
    "max_gradient_norm": 5.0,
    "schedule": CosineRestarts(10, 2e-3),
    "augmentation": ("flip",),
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "window": 9,
    "evaluate_every": 2,
    "precision": "bf16",
    "tf32": True,
}


def test_the_canonical_form_never_changes() -> None:
    assert SPEC.to_json() == CANONICAL
    assert SPEC.digest == DIGEST == hashlib.sha256(CANONICAL.encode()).hexdigest()


@pytest.mark.parametrize("schedule", [CosineRestarts(10), MultiStep((60, 90), 0.2), None])
def test_a_spec_is_read_back_from_its_json(schedule: CosineRestarts | MultiStep | None) -> None:
    recipe = SPEC.recipe if schedule is None else replace(SPEC.recipe, schedule=schedule)
    spec = replace(SPEC, recipe=recipe)
    back = RunSpec.from_dict(json.loads(spec.to_json()))

    assert back == spec
    assert hash(back) == hash(spec)
    assert back.digest == spec.digest


@pytest.mark.parametrize("name", [field.name for field in fields(RunSpec) if field.init])
def test_every_field_changes_the_digest(name: str) -> None:
    nested = {"recipe": CHANGED_RECIPE, "seeds": dict.fromkeys(RANDOM_AXES, 1)}
    if name not in nested:
        assert replace(SPEC, **{name: CHANGED[name]}).digest != SPEC.digest
        return
    whole = getattr(SPEC, name)
    assert {field.name for field in fields(whole)} == set(nested[name])
    changed = [
        replace(SPEC, **{name: replace(whole, **{key: value})}).digest
        for key, value in nested[name].items()
    ]
    assert len({SPEC.digest, *changed}) == len(changed) + 1


def test_integers_and_floats_share_a_digest() -> None:
    parameters = method_of("nal").parameters
    whole, decimal = ({"lambda": value, "first_target_epoch": value} for value in (10, 10.0))
    assert (
        replace(SPEC, hyperparameters=complete_parameters("nal", parameters, whole)).digest
        == replace(SPEC, hyperparameters=complete_parameters("nal", parameters, decimal)).digest
    )
    as_integers = Recipe(1, 1, learning_rate=1, momentum=0, weight_decay=0, max_gradient_norm=5)
    as_decimals = Recipe(
        1, 1, learning_rate=1.0, momentum=0.0, weight_decay=0.0, max_gradient_norm=5.0
    )
    integers = replace(SPEC, recipe=as_integers, hold_out=0, evaluate=())
    decimals = replace(SPEC, recipe=as_decimals, hold_out=0.0, evaluate=())
    assert integers.digest == decimals.digest


def test_a_crop_padding_without_effect_is_not_part_of_the_digest() -> None:
    for options in ({}, {"augmentation": ("flip",)}, {"augmentation": ("crop",), "crop_size": 9}):
        recipe = Recipe(1, 1, learning_rate=1.0, **options)
        assert replace(recipe, crop_padding=8) == recipe


def test_positive_and_negative_zero_share_a_digest() -> None:
    recipe = replace(SPEC.recipe, weight_decay=0.0, mean=(0.0, 0.5, 0.5))
    other = replace(SPEC.recipe, weight_decay=-0.0, mean=(-0.0, 0.5, 0.5))
    assert replace(SPEC, recipe=recipe).digest == replace(SPEC, recipe=other).digest


def test_a_spec_is_immutable() -> None:
    for instance, name in ((SPEC, "method"), (SPEC.recipe, "epochs"), (SPEC.seeds, "noise")):
        with pytest.raises(FrozenInstanceError):
            setattr(instance, name, 1)


def test_new_specs_have_the_revision_of_the_code() -> None:
    names = {field.name for field in fields(SPEC) if field.init} - {"revision"}
    assert RunSpec(**{name: getattr(SPEC, name) for name in names}).revision == REVISION


def test_nan_and_infinity_have_no_canonical_form() -> None:
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json({"a": number})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hold_out": 1.0}, "hold_out"),
        ({"hold_out": -0.1}, "hold_out"),
        ({"hold_out": 0.0}, "hold_out"),
        ({"evaluate": ("train",)}, "evaluate"),
        ({"subset": 0}, "subset"),
        ({"test_subset": 0}, "test_subset"),
        ({"threads": 0}, "threads"),
    ],
)
def test_invalid_specs_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        replace(SPEC, **changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"window": 0}, "window"),
        ({"evaluate_every": 0}, "evaluate_every"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov"),
        ({"max_gradient_norm": 0.0}, "max_gradient_norm"),
        ({"crop_padding": -1}, "crop_padding"),
        ({"augmentation": ("rotate",)}, "augmentation"),
        ({"mean": None}, "mean"),
        ({"std": (0.2, 0.2)}, "std"),
        ({"std": (0.2, 0.2, 0.0)}, "std"),
    ],
)
def test_invalid_recipes_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        replace(SPEC.recipe, **changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("colour",), "red"),
        (("recipe", "colour"), "red"),
        (("recipe", "epochs"), 0),
        (("recipe", "schedule"), {"kind": "linear"}),
        (("recipe", "schedule"), {"kind": "multistep"}),
        (("seeds", "noise"), -1),
        (("seeds", "colour"), 1),
    ],
)
def test_json_of_another_version_is_refused(path: tuple[str, ...], value: object) -> None:
    plain = json.loads(SPEC.to_json())
    inner = plain
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(RecordError, match=r"^not a run spec of this version of the project: "):
        RunSpec.from_dict(plain)


def test_a_missing_key_is_refused() -> None:
    for key in ("dataset", "recipe", "hyperparameters", "seeds"):
        plain = json.loads(SPEC.to_json())
        del plain[key]
        with pytest.raises(RecordError, match=key):
            RunSpec.from_dict(plain)


def test_which_epochs_are_evaluated() -> None:
    recipe = Recipe(epochs=23, batch_size=1, learning_rate=1.0, window=4, evaluate_every=10)
    evaluated = [epoch for epoch in range(1, 24) if recipe.evaluates(epoch)]
    assert evaluated == [10, 20, 21, 22, 23]
    every = replace(recipe, evaluate_every=1)
    assert all(every.evaluates(epoch) for epoch in range(1, 24))


def test_a_shorter_recipe_scales_window_and_schedule() -> None:
    short = SPEC.recipe.scaled(12)

    assert (short.epochs, short.window, short.schedule) == (12, 2, CosineRestarts(2, 1e-3))
    unscaled = SPEC.recipe.scaled(12, SPEC.recipe.schedule)
    assert (unscaled.window, unscaled.schedule) == (10, SPEC.recipe.schedule)
    scaled = {"epochs", "window", "schedule"}
    for field in dataclasses.fields(Recipe):
        if field.name not in scaled:
            assert getattr(short, field.name) == getattr(SPEC.recipe, field.name)
    assert Recipe(epochs=5, batch_size=1, learning_rate=1.0, window=10).window == 5


def test_a_spec_of_another_revision_is_refused_naming_both() -> None:
    check_revision(replace(SPEC, revision=REVISION))
    old = replace(SPEC, revision=REVISION + 1)
    with pytest.raises(RecordError) as refused:
        check_revision(old)
    assert str(refused.value) == (
        f"run {old.digest[:12]} was made with revision {REVISION + 1} of the training code, but "
        f"revision {REVISION} is installed: install the version that made the run, or plan the run "
        "again with this version"
    )


def test_a_digest_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(SPEC, threads=3)
    first = spec.digest
    monkeypatch.setattr("trainables.run.spec.digest_of", None)
    assert spec.digest == first
    assert replace(SPEC) == SPEC  # the cached digest is not compared
    assert hash(spec) == hash(RunSpec.from_dict(spec.to_dict()))


def test_digests_of_specs_with_shared_settings_are_those_of_new_specs() -> None:
    spec = SPEC
    seeds, needs = Seeds.from_base_seed(7), FrozenMap({"posterior": "ab" * 32})
    for copy in (spec.with_seeds(seeds, FrozenMap()), spec.with_seeds(seeds, needs)):
        new_spec = RunSpec.from_dict(copy.to_dict())
        assert copy == new_spec
        assert copy.identity() == new_spec.identity()
        assert copy.digest == new_spec.digest != spec.digest
        assert copy.with_seeds(spec.seeds, spec.needs).digest == spec.digest
