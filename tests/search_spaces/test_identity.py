"""What of a study enters the digest of its sweep."""

from __future__ import annotations

import json
from typing import Any

import pytest

from search_spaces import identity as module
from search_spaces.fields import added_key, is_neutral
from search_spaces.identity import identity
from search_spaces.loader import Change, load_study, parse_set
from search_spaces.schema import ConfirmSettings, Resources, SearchSettings, Study


def of(name: str, *sets: str, epochs: int | None = None) -> dict[str, Any]:
    loaded = load_study(name, [parse_set(text) for text in sets])
    return identity((loaded if epochs is None else loaded.with_epochs(epochs)).study)


@pytest.mark.parametrize(
    "said",
    [
        "search.trials=7",
        "select.seeds=[7, 8]",
        "select.candidates=2",
        "confirm.seeds=[5]",
        "title=another",
        "deviations=[none]",
        "diagnostics.every=3",
        "resources.gpus=0.5",
        "methods=[nal, selc, sat, elr, sce, dac, joint, gce, bootstrap, forward, ce]",
        "scenarios=[asymmetric-0.4, symmetric-0.8, symmetric-0.6, symmetric-0.4, symmetric-0.2]",
        "hyperparameters.gce.q=0.7",  # its default
        "recipe.window=10",  # said by the file
        "posterior.seed=5",  # no noise of the study is drawn from it
        "recipes.ce=matched",
    ],
)
def test_how_much_is_done_and_what_is_shown_does_not_enter(said: str) -> None:
    assert of("cifar10", said) == of("cifar10")


@pytest.mark.parametrize(
    "said",
    [
        "search.seed=7",
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
def test_what_changes_a_run_or_a_choice_enters(said: str) -> None:
    sets = said.split("; ")
    assert of("cifar10", *sets) != of("cifar10", *sets[1:])


def test_the_length_asked_for_enters_as_what_it_changes() -> None:
    assert of("cifar10", epochs=50)["methods"]["nal"]["symmetric-0.4"]["recipe"]["epochs"] == 50
    assert of("cifar10", epochs=500) == of("cifar10")


def test_what_is_varied_enters_in_any_order() -> None:
    sets = ("tune=[]", "vary={nal: {lambda: [1, 10]}}")
    assert of("cifar10", *sets)["vary"] == {"nal": {"lambda": [1.0, 10.0]}}
    assert of("cifar10", *sets) == of("cifar10", "tune=[]", "vary={nal: {lambda: [10, 1]}}")


def test_it_holds_keys_and_values_and_no_words_for_people() -> None:
    plain = of("cifar10", "recipes.elr=published")
    text = json.dumps(plain)
    assert json.loads(text) == plain
    cell = plain["methods"]["elr"]["symmetric-0.2"]
    assert (cell["hold_out"], cell["selection"]) == (0.1, "noisy")
    for word in ("published", "ELR", "epoch chosen", "CIFAR-10", "paper"):
        assert word not in text


def test_a_study_written_out_is_the_same(tmp_path: Any) -> None:
    changes = [Change("scenarios", ["symmetric-0.4", "asymmetric-0.4"], "--scenario")]
    loaded = load_study("cifar10", [*changes, parse_set("recipes.elr=published")])
    path = tmp_path / "again.yaml"
    path.write_text(loaded.to_yaml())
    assert identity(load_study(str(path)).study) == identity(loaded.study)


class LaterResources(Resources, frozen=True):
    """Resources with a key more."""

    memory: float = added_key(0.0)


class LaterSearch(SearchSettings, frozen=True):
    """A search with keys more, one of them marked as added later."""

    pruner: str = added_key("none")
    sampler: str = "tpe"


def test_a_key_added_later_enters_once_it_says_something() -> None:
    study = load_study("digits").study
    before = identity(study)
    neutral = {"resources": LaterResources(gpus=0), "confirm": ConfirmSettings(hold_out=True)}
    assert identity(study.model_copy(update=neutral)) == before
    more = study.model_copy(update={"resources": LaterResources(memory=2)})
    assert identity(more)["resources"] == {"cpus": 1, "memory": 2.0}

    said = study.search.model_dump()
    assert is_neutral(LaterSearch(**said), "pruner")
    kept = identity(study.model_copy(update={"search": LaterSearch(**said)}))["search"]
    assert kept == {**before["search"], "sampler": "tpe"}


def test_every_key_that_is_named_is_one_of_the_schema() -> None:
    assert set(module.RESOLVED) <= set(Study.model_fields)
    assert set(module.LEFT_OUT) - {"study"} <= set(Study.model_fields)
