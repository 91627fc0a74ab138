from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.loader import load_study, parse_set
from search_spaces.scaling import list_scaled, with_epochs
from trainables.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_everything_that_counts_epochs_is_scaled() -> None:
    study = load_study("cifar10").study
    short = with_epochs(study, 50)
    assert short.recipe.epochs == 50
    assert short.recipe.schedule.cycle == 1
    assert short.recipe.window == 1
    assert short.hyperparameters["nal"] == {"first_target_epoch": 6, "target_interval": 1}
    assert short.reference == study.reference
    assert short.search == study.search
    assert [str(change) for change in list_scaled(study, short)] == [
        "epochs 500 -> 50",
        "period 10 -> 1",
        "window 10 -> 1",
        "first_target_epoch 60 -> 6",
        "target_interval 10 -> 1",
    ]


def test_a_longer_training_scales_too() -> None:
    long = with_epochs(load_study("digits").study, 120)
    assert long.hyperparameters["nal"] == {"first_target_epoch": 20, "target_interval": 2}


def test_the_same_length_changes_nothing() -> None:
    study = load_study("cifar100").study
    assert with_epochs(study, 500) == study
    assert list_scaled(study, study) == []


def test_one_epoch_is_possible() -> None:
    short = with_epochs(load_study("cifar100").study, 1)
    assert short.hyperparameters_of("nal")["first_target_epoch"] == 1


def test_a_reference_that_counts_epochs_is_scaled(write_study: Callable[..., Path]) -> None:
    path = write_study("  methods: [nal]", "  methods: []")
    path.write_text(path.read_text().replace("    alpha: 0.9", "    target_interval: 6"))
    study = with_epochs(load_study(str(path)).study, 30)
    assert study.reference["nal"] == {"lambda": 0.5, "target_interval": 3}


def test_a_loaded_study_says_what_scaled_its_values() -> None:
    loaded = load_study("digits")
    short = loaded.with_epochs(6)
    assert short.sources["recipe.epochs"] == "set by --epochs"
    assert short.sources["hyperparameters.nal.first_target_epoch"] == (
        "scaled by --epochs from 10 (this project, tried out on this dataset)"
    )
    assert short.sources["recipe.batch_size"] == loaded.sources["recipe.batch_size"]
    with pytest.raises(StudyError, match=r"^--epochs: epochs must be at least 1, got 0$"):
        loaded.with_epochs(0)


def test_what_flags_have_set_is_not_scaled() -> None:
    sets = ["hyperparameters.nal.first_target_epoch=4", "recipe.window=3"]
    short = load_study("cifar10", [parse_set(text) for text in sets]).with_epochs(50)
    assert short.study.recipe.window == 3
    assert short.study.hyperparameters["nal"] == {"first_target_epoch": 4, "target_interval": 1}
    assert short.sources["recipe.window"] == "set by --set recipe.window"
    assert short.study.recipe.schedule.cycle == 1
