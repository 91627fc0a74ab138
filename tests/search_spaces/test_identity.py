"""Values of a study that enter the digest of its sweep."""

from __future__ import annotations

import json
from typing import Any

import pytest

from search_spaces import identity as module
from search_spaces.fields import field_added_later, has_neutral_value
from search_spaces.identity import study_identity
from search_spaces.loader import Change, load_study, parse_set_flag
from search_spaces.schema import ConfirmSettings, Resources, SearchSettings, Study


def identity_with(name: str, *sets: str, epochs: int | None = None) -> dict[str, Any]:
    loaded = load_study(name, [parse_set_flag(text) for text in sets])
    return study_identity((loaded if epochs is None else loaded.with_epochs(epochs)).study)


@pytest.mark.parametrize(
    "sets",
    [
        "search.trials=7",
        "select.seeds=[7, 8]",
        "select.candidates=2",
        "confirm.seeds=[5]",
        "title=another",
        "deviations=[none]",
        "diagnostics.every=3",
        "keep=table",
        "resources.gpus=0.5",
        "methods=[nal, selc, sat, elr, sce, dac, joint, gce, bootstrap, forward, ce]",
        "scenarios=[asymmetric-0.4, symmetric-0.8, symmetric-0.6, symmetric-0.4, symmetric-0.2]",
        "hyperparameters.gce.q=0.7",  # its default
        "recipe.window=10",  # value of the file
        "posterior.seed=5",  # no noise of the study is drawn from it
        "recipes.ce=matched",
    ],
)
def test_amounts_and_presentation_do_not_enter(sets: str) -> None:
    assert identity_with("cifar10", sets) == identity_with("cifar10")


@pytest.mark.parametrize(
    "sets",
    [
        "search.seeds=[7]",
        "search.seeds=[1000, 1001]",
        "search.sampler=qmc",
        "search.lag=8",
        "search.hold_out=0.2",
        "search.scope=scenario",
        "search.scenario=symmetric-0.2",
        "search.space.nal.alpha.high=0.95",
        "reference.nal.alpha=0.8",
        "confirm.hold_out=true",
        "fixed_seeds={noise: 3}",
        "subset=1000",
        "unreadable=skip",
        "resources.cpus=2",
        "recipe.learning_rate=0.3",
        "hyperparameters.gce.q=0.6",
        "recipes.elr=published",
        "recipes.ce={hold_out: 0.1}",
        "methods=[ce, nal]",
        "scenarios=[symmetric-0.2, symmetric-0.4]",
        "backbone={name: preact18}",
        "tune=[]",
        "overrides=[{scenario: symmetric-0.8, recipe: {epochs: 300}}]",
        "posterior.seed=5; scenarios=[pmd-1-0.35]; search.scenario=pmd-1-0.35",
    ],
)
def test_values_that_change_a_run_or_a_choice_enter(sets: str) -> None:
    changes = sets.split("; ")
    assert identity_with("cifar10", *changes) != identity_with("cifar10", *changes[1:])


def test_a_requested_length_enters_as_the_values_it_changes() -> None:
    assert (
        identity_with("cifar10", epochs=50)["methods"]["nal"]["symmetric-0.4"]["recipe"]["epochs"]
        == 50
    )
    assert identity_with("cifar10", epochs=500) == identity_with("cifar10")


def test_varied_values_enter_in_any_order() -> None:
    sets = ("tune=[]", "vary={nal: {lambda: [1, 10]}}")
    assert identity_with("cifar10", *sets)["vary"] == {"nal": {"lambda": [1.0, 10.0]}}
    assert identity_with("cifar10", *sets) == identity_with(
        "cifar10", "tune=[]", "vary={nal: {lambda: [10, 1]}}"
    )


def test_the_identity_contains_keys_and_values_but_no_printed_text() -> None:
    plain = identity_with("cifar10", "recipes.elr=published")
    text = json.dumps(plain)
    assert json.loads(text) == plain
    cell = plain["methods"]["elr"]["symmetric-0.2"]
    assert (cell["hold_out"], cell["selection"]) == (0.1, "noisy")
    for word in ("published", "ELR", "epoch chosen", "CIFAR-10", "paper"):
        assert word not in text


def test_an_exported_study_has_the_same_identity(tmp_path: Any) -> None:
    changes = [Change("scenarios", ["symmetric-0.4", "asymmetric-0.4"], "--scenario")]
    loaded = load_study("cifar10", [*changes, parse_set_flag("recipes.elr=published")])
    path = tmp_path / "again.yaml"
    path.write_text(loaded.to_yaml())
    assert study_identity(load_study(str(path)).study) == study_identity(loaded.study)


class ExtendedResources(Resources, frozen=True):
    """Resources with an added key."""

    memory: float = field_added_later(0.0)


class ExtendedSearch(SearchSettings, frozen=True):
    """Search settings with two more keys, one of them declared as added."""

    pruner: str = field_added_later("none")
    budget: str = "trials"


def test_an_added_key_enters_once_it_is_not_neutral() -> None:
    study = load_study("digits").study
    before = study_identity(study)
    neutral = {"resources": ExtendedResources(gpus=0), "confirm": ConfirmSettings(hold_out=True)}
    assert study_identity(study.model_copy(update=neutral)) == before
    more = study.model_copy(update={"resources": ExtendedResources(memory=2)})
    assert study_identity(more)["resources"] == {"cpus": 1, "memory": 2.0}

    values = study.search.model_dump()
    assert has_neutral_value(ExtendedSearch(**values), "pruner")
    keys = study_identity(study.model_copy(update={"search": ExtendedSearch(**values)}))["search"]
    assert keys == {**before["search"], "budget": "trials"}


def test_every_listed_key_is_in_the_schema() -> None:
    assert set(module.RESOLVED_KEYS) <= set(Study.model_fields)
    assert set(module.EXCLUDED_KEYS_BY_SECTION) - {"study"} <= set(Study.model_fields)
