"""Rules and sources of the values that a study sets for its methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.loader import LoadedStudy, load_study, parse_set_flag
from search_spaces.resolve import reference_of, resolve
from trainables.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def load(name: str, *sets: str) -> LoadedStudy:
    return load_study(name, [parse_set_flag(text) for text in sets])


def fault(name: str, *sets: str) -> str:
    with pytest.raises(StudyError) as error_info:
        load(name, *sets)
    assert "\n" not in str(error_info.value)
    return str(error_info.value)


SPACE = "search.space.elr={lambda: {low: 1, high: 5}}"


def test_a_space_of_an_untuned_method_keeps_the_published_value() -> None:
    only = "scenarios=[symmetric-0.2, symmetric-0.4]"
    loaded = load("cifar10", "tune=[nal]", SPACE, only)
    assert resolve(loaded.study, "elr", "symmetric-0.2").hyperparameters["lambda"] == 3.0
    assert loaded.sources["hyperparameters.elr.lambda"] == "shengliu66/ELR"
    searched = load("cifar10", "tune=[nal, elr]", SPACE, only)
    assert "lambda" not in searched.resolved_values["hyperparameters"]["elr"]
    assert dict(reference_of(searched.study, "elr") or {}) == {"lambda": 3.0}


def test_a_method_with_every_searched_value_fixed_is_not_tuned(
    write_study: Callable[..., Path],
) -> None:
    path = write_study("methods: [ce, nal]\ntune: [nal]", "methods: [gce, nal]\ntune: [nal, gce]")
    assert load(str(path)).study.tune == ("nal", "gce")
    fixed = load(str(path), "hyperparameters.gce.q=0.5").study
    assert fixed.tune == ("nal",)
    assert resolve(fixed, "gce", "clean").hyperparameters == {"q": 0.5}


def test_a_recipe_and_a_reference_cannot_both_set_the_learning_rate() -> None:
    recipe = "recipes.ce={recipe: {learning_rate: 0.5}}"
    assert fault("digits-methods", "tune=[nal]", recipe) == (
        "--set recipes.ce: learning_rate is also set, by reference.ce.learning_rate: remove one"
    )
    study = load("digits-methods", "tune=[nal]", "reference.ce=null", recipe).study
    assert resolve(study, "ce", "symmetric-0.4").recipe.learning_rate == 0.5


def test_a_recipe_holds_out_at_least_one_sample() -> None:
    sets = ("tune=[]", "confirm.hold_out=false")
    assert fault("digits", *sets, "recipes.ce={hold_out: 1e-4}") == (
        "--set recipes.ce: recipes.ce.hold_out: with hold_out 0.0001 of 1437 samples, 0 are held "
        "out and 1437 are left to train on: neither may be 0"
    )
    assert fault("digits", *sets, "recipes.ce={hold_out: 0.1}", "subset=4") == (
        "--set subset: with hold_out 0.1 of 4 samples, 0 are held out and 4 are left to train on: "
        "neither may be 0"
    )


def test_every_value_of_a_published_recipe_has_a_source() -> None:
    sources = load("cifar100", "recipes.elr=published", "recipes.forward=published").sources
    assert sources["recipes.elr.recipe.mean"] == "shengliu66/ELR"
    assert sources["recipes.elr.recipe.window"] == "as in the study"
    assert sources["recipes.forward.stages.predictions.window"] == "as in the study"
    assert sources["recipes.forward.recipe.epochs"] != "as in the study"
    sources = load("cifar10", "recipes.elr=published", "scenarios=[symmetric-0.4]").sources
    assert sources["recipes.elr.recipe.mean"] == "as in the study"


def test_the_source_of_an_own_recipe_covers_all_its_values(
    write_study: Callable[..., Path],
) -> None:
    recipes = "recipes:\n  ce:\n    recipe: {epochs: 20}\n    hold_out: 0.2\n"
    stated = load(
        str(write_study("select:\n", f"{recipes}    source: a letter\nselect:\n"))
    ).sources
    bare = load(str(path := write_study("select:\n", f"{recipes}select:\n"))).sources
    assert (stated["recipes.ce.recipe.epochs"], stated["recipes.ce.hold_out"]) == ("a letter",) * 2
    assert (bare["recipes.ce.recipe.epochs"], bare["recipes.ce.hold_out"]) == (
        f"{path}:34",
        f"{path}:35",
    )
    for sources in (stated, bare):
        assert sources["recipes.ce.recipe.momentum"] == "as in the study"
        assert sources["recipes.ce.selection"] == "default of the schema"
    flagged = load(
        str(write_study("select:\n", f"{recipes}    source: a letter\nselect:\n")),
        "recipes.ce.recipe.epochs=30",
    ).sources
    assert flagged["recipes.ce.recipe.epochs"] == "set by --set recipes.ce.recipe.epochs"


def test_too_few_epochs_are_refused_with_the_value_that_needs_more() -> None:
    with pytest.raises(StudyError) as error_info:
        load("cifar10").with_epochs(1)
    assert str(error_info.value) == (
        "--epochs: hyperparameters.dac.warm_up_epochs: warm_up_epochs is 1 of 1 epochs, but at "
        "least one epoch must follow: train for at least 2 epochs"
    )


def test_crossed_axes_exist_vary_and_have_seeds_of_their_own() -> None:
    for value, message in (
        ("{axes: [noise, innit]}", "unknown random axis 'innit': did you mean 'init'?"),
        ("{axes: [noise, subset]}", "subset is held fixed by fixed_seeds: remove it there or here"),
        ("{axes: [noise, noise]}", "noise"),
        ("{axes: [noise]}", "axes"),
        ("{axes: [noise, init], seeds: [0]}", "seeds"),
        ("{axes: [noise, init], seeds: [0, 2000]}", "seed 2000 also belongs to search or select"),
        (
            f"{{axes: [noise, init, order], seeds: {list(range(30))}}}",
            "30 seeds of 3 axes have 27,000 combinations: at most 10,000 are possible",
        ),
    ):
        assert message in fault("digits", f"confirm.cross={value}")
