"""Values of a study's methods that a plan uses: spaces, references, splits and seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.loader import load_study
from search_spaces.resolve import reference_of, resolve
from search_spaces.schema import Phase
from trainables.errors import FieldError
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_hyperparameters_are_complete_and_replaced_by_tuned_ones(
    write_study: Callable[..., Path],
) -> None:
    study = load_study(str(write_study())).study
    assert resolve(study, "ce", "symmetric-0.4").hyperparameters == {}
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters == {
        "lambda": 0.5,
        "alpha": 0.9,
        "first_target_epoch": 10,
        "target_interval": 1,
        "clamps": False,
        "delta": 0.0,
        "beta": 0.0,
    }
    resolved = resolve(study, "nal", "symmetric-0.4")
    tuned = resolved.with_values({"lambda": 3, "alpha": 0.7}).hyperparameters
    assert (tuned["lambda"], tuned["alpha"], tuned["first_target_epoch"]) == (3.0, 0.7, 10)
    assert isinstance(tuned["lambda"], float)
    with pytest.raises(FieldError, match="did you mean 'alpha'"):
        resolved.with_values({"alfa": 0.7})
    with pytest.raises(FieldError, match="unknown method 'nall'"):
        resolve(study, "nall", "symmetric-0.4")


def test_an_untuned_method_has_the_values_of_the_reference(
    write_study: Callable[..., Path],
) -> None:
    path = write_study("tune: [nal]", "tune: []")
    path.write_text(path.read_text().replace("lambda: 0.5", "lambda: 7"))
    study = load_study(str(path)).study
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters["lambda"] == 7.0


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


def test_reference(write_study: Callable[..., Path]) -> None:
    study = load_study(str(write_study())).study
    assert dict(reference_of(study, "nal") or {}) == {"lambda": 0.5, "alpha": 0.9}
    assert reference_of(study, "ce") is None


@pytest.mark.parametrize(
    ("hold_out", "fraction", "splits"), [("true", 0.3, ("val", "test")), ("false", 0.0, ("test",))]
)
def test_the_test_split_is_evaluated_in_confirm_only(
    write_study: Callable[..., Path], hold_out: str, fraction: float, splits: tuple[str, ...]
) -> None:
    study = load_study(str(write_study("hold_out: true", f"hold_out: {hold_out}"))).study
    resolved = resolve(study, "nal", "symmetric-0.4")
    for phase in (Phase.SEARCH, Phase.SELECT):
        assert resolved.hold_out(phase) == 0.3
        assert resolved.evaluated_splits(phase) == ("val",)
    assert resolved.hold_out(Phase.CONFIRM) == fraction
    assert resolved.evaluated_splits(Phase.CONFIRM) == splits


def test_searched_scenarios(write_study: Callable[..., Path]) -> None:
    study = load_study(str(write_study())).study
    assert study.search_scenarios == {"symmetric-0.4": ("symmetric-0.4", "clean")}
    study = load_study(str(write_study("  trials: 4", "  scope: scenario"))).study
    assert study.search_scenarios == {"symmetric-0.4": ("symmetric-0.4",), "clean": ("clean",)}
    study = load_study(str(write_study("  scenario: symmetric-0.4\n", ""))).study
    assert study.search_scenarios == {"symmetric-0.4": ("symmetric-0.4", "clean")}


def test_fixed_axes_keep_their_seed(write_study: Callable[..., Path]) -> None:
    study = load_study(str(write_study())).study
    seeds = study.seeds(7)
    assert (seeds.subset, seeds.noise, seeds.init) == (0, 7, 7)
    path = write_study("select:", "fixed_seeds: {noise: 3}\nselect:")
    seeds = load_study(str(path)).study.seeds(7)
    assert (seeds.subset, seeds.noise, seeds.init) == (7, 3, 7)
