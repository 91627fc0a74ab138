"""Properties of a study that are read from its values: spaces, scenarios and seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_spaces.loader import load_study
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_space_is_that_of_the_study_or_else_of_the_method(
    write_study: Callable[..., Path],
) -> None:
    study = load_study(str(write_study())).study
    assert study.space_of("nal") == {
        "lambda": Space(0.05, 20, log=True),
        "alpha": Space(0.5, 0.99),
    }
    assert set(study.space_of("ce")) == {"learning_rate", "weight_decay"}  # values of the recipe
    assert study.space_of("bootstrap").keys() == {"beta"}
    path = write_study()
    path.write_text(path.read_text().partition("  space:")[0])
    study = load_study(str(path)).study
    assert study.space_of("nal") == {"lambda": Space(0.1, 50, log=True), "alpha": Space(0.5, 0.99)}


def test_searched_scenarios(write_study: Callable[..., Path]) -> None:
    study = load_study(str(write_study())).study
    assert study.search_scenarios == {"symmetric-0.4": ("symmetric-0.4", "clean")}
    study = load_study(str(write_study("  trials: 4", "  scope: scenario"))).study
    assert study.search_scenarios == {"symmetric-0.4": ("symmetric-0.4",), "clean": ("clean",)}
    study = load_study(str(write_study("  scenario: symmetric-0.4\n", ""))).study
    assert study.search_scenarios == {"symmetric-0.4": ("symmetric-0.4", "clean")}


def test_the_searched_scenario_is_ignored_if_nothing_is_tuned(
    write_study: Callable[..., Path],
) -> None:
    study = load_study(str(write_study("tune: [nal]", "tune: []"))).study
    assert study.search_scenarios == {}


def test_fixed_axes_keep_their_seed(write_study: Callable[..., Path]) -> None:
    study = load_study(str(write_study())).study
    seeds = study.axis_seeds(7)
    assert (seeds.subset, seeds.noise, seeds.init) == (0, 7, 7)
    path = write_study("select:", "fixed_seeds: {noise: 3}\nselect:")
    seeds = load_study(str(path)).study.axis_seeds(7)
    assert (seeds.subset, seeds.noise, seeds.init) == (7, 3, 7)
