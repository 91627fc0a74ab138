from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.loader import Change, load_study, parse_set_flag
from search_spaces.resolve import matched_recipe, reference_of, resolve
from search_spaces.scaling import describe_cut_cycle
from trainables.errors import StudyError
from trainables.run.schedules import CosineRestarts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_everything_that_counts_epochs_is_scaled() -> None:
    loaded = load_study("cifar10")
    scaled = loaded.with_epochs(50)
    study, short = loaded.study, scaled.study
    assert matched_recipe(short).epochs == 50
    assert matched_recipe(short).schedule.cycle_length == 2
    assert matched_recipe(short).window == 2
    assert (
        resolve(short, "nal", short.scenarios[0]).hyperparameters.items()
        >= {"first_target_epoch": 6, "target_interval": 2}.items()
    )
    assert reference_of(short, "nal") == reference_of(study, "nal")
    assert short.search == study.search
    assert list(dict.fromkeys(str(change) for change in scaled.scaled_values)) == [
        "epochs 500 -> 50",
        "period 10 -> 2",
        "window 10 -> 2",
        "joint.first_label_epoch 71 -> 7",
        "dac.warm_up_epochs 20 -> 2",
        "sat.first_target_epoch 61 -> 6",
        "selc.first_target_epoch 41 -> 4",
        "nal.first_target_epoch 60 -> 6",
        "nal.target_interval 10 -> 2",
        "selc.first_target_epoch 31 -> 3",
        "epochs 300 -> 30",
    ]


@pytest.mark.parametrize(
    ("epochs", "period", "first", "interval", "window"),
    [
        (5, 2, 2, 2, 2),
        (50, 2, 6, 2, 2),
        (75, 2, 8, 2, 2),
        (100, 2, 12, 2, 2),
        (250, 5, 30, 5, 5),
        (260, 5, 30, 5, 5),
        (1000, 20, 120, 20, 20),
    ],
)
def test_whole_cycles_stay_whole_cycles(
    epochs: int, period: int, first: int, interval: int, window: int
) -> None:
    study = load_study("cifar10").with_epochs(epochs).study
    values = resolve(study, "nal", "symmetric-0.4").hyperparameters
    assert matched_recipe(study).epochs == epochs
    assert matched_recipe(study).schedule.cycle_length == period
    assert (values["first_target_epoch"], values["target_interval"]) == (first, interval)
    assert matched_recipe(study).window == window


@pytest.mark.parametrize(
    ("epochs", "period", "every"), [(6, 2, 2), (20, 3, 3), (30, 5, 5), (100, 17, 1), (120, 20, 5)]
)
def test_cycle_ends_stay_evaluated(epochs: int, period: int, every: int) -> None:
    recipe = matched_recipe(load_study("cifar10-small").with_epochs(epochs).study)
    assert (recipe.schedule.cycle_length, recipe.evaluate_every) == (period, every)


def test_an_interval_between_evaluations_that_a_flag_sets_is_kept() -> None:
    loaded = load_study("cifar10-small", [parse_set_flag("recipe.evaluate_every=5")])
    with pytest.raises(StudyError, match="evaluate_every 5 skips cycle ends"):
        loaded.with_epochs(20)


@pytest.mark.slow
def test_targets_move_at_the_lowest_rate_at_every_length() -> None:
    only = Change("scenarios", ["symmetric-0.4"], "--scenario")
    whole = load_study("cifar10", [only])
    for epochs in range(4, 500):
        study = whole.with_epochs(epochs).study
        recipe, values = (
            matched_recipe(study),
            resolve(study, "nal", "symmetric-0.4").hyperparameters,
        )
        rates = [recipe.schedule.rate(recipe.learning_rate, e) for e in range(1, epochs + 1)]
        first, interval = (
            int(values.number(name)) for name in ("first_target_epoch", "target_interval")
        )
        assert recipe.epochs == epochs
        assert first <= epochs
        assert len(set(rates)) > 1
        assert {rates[e - 1] for e in range(first, epochs + 1, interval)} == {min(rates)}, epochs


def test_a_cut_last_cycle_is_described() -> None:
    loaded = load_study("cifar10")
    whole = matched_recipe(loaded.study)
    cut, short = (matched_recipe(loaded.with_epochs(epochs).study) for epochs in (75, 76))
    assert describe_cut_cycle(whole, cut) == (
        "the last epoch, 75, does not end a learning-rate cycle of 2 epochs: "
        "its learning rate is not the lowest; a multiple of 2 epochs ends at the lowest"
    )
    assert describe_cut_cycle(whole, short) == ""
    assert describe_cut_cycle(cut, matched_recipe(loaded.with_epochs(25).study)) == ""  # cut before
    digits = load_study("digits")
    shorter = matched_recipe(digits.with_epochs(7).study)
    assert describe_cut_cycle(matched_recipe(digits.study), shorter) == ""


def test_a_longer_training_scales_too() -> None:
    long = load_study("digits").with_epochs(120).study
    assert (
        resolve(long, "nal", long.scenarios[0]).hyperparameters.items()
        >= {"first_target_epoch": 20, "target_interval": 2}.items()
    )


def test_the_same_length_changes_nothing() -> None:
    loaded = load_study("cifar100")
    same = loaded.with_epochs(500)
    assert same.resolved_values == loaded.resolved_values
    assert same.scaled_values == ()


@pytest.mark.parametrize("study", ["cifar10", "digits-methods"])
def test_an_epoch_follows_the_warm_up_of_dac(study: str) -> None:
    for epochs in (2, 3):
        loaded = load_study(study).with_epochs(epochs)
        for scenario in loaded.study.scenarios:
            resolved = resolve(loaded.study, "dac", scenario)
            assert 1 <= resolved.hyperparameters.number("warm_up_epochs") < resolved.recipe.epochs
    with pytest.raises(StudyError, match=r"is 1 of 1 epochs.* train for at least 2 epochs"):
        load_study(study).with_epochs(1)


def test_one_epoch_is_possible() -> None:
    two = load_study("cifar100", [Change("methods", ["ce", "nal"], "--methods")])
    short = two.with_epochs(1).study
    assert resolve(short, "nal", "symmetric-0.4").hyperparameters["first_target_epoch"] == 1


def test_a_reference_that_counts_epochs_is_scaled(write_study: Callable[..., Path]) -> None:
    path = write_study("tune: [nal]", "tune: []")
    path.write_text(path.read_text().replace("    alpha: 0.9", "    target_interval: 6"))
    study = load_study(str(path)).with_epochs(30).study
    assert dict(reference_of(study, "nal") or {}) == {"lambda": 0.5, "target_interval": 3}


def test_sources_name_the_flag_that_scaled_a_value() -> None:
    loaded = load_study("digits")
    short = loaded.with_epochs(6)
    assert short.sources["recipe.epochs"] == "set by --epochs"
    assert short.sources["hyperparameters.nal.first_target_epoch"] == (
        "scaled by --epochs from 10 (this project, tried out on this dataset)"
    )
    assert short.sources["recipe.batch_size"] == loaded.sources["recipe.batch_size"]
    with pytest.raises(StudyError, match=r"^--epochs: epochs must be at least 1, got 0$"):
        loaded.with_epochs(0)


def test_values_set_by_flags_are_not_scaled() -> None:
    sets = ["hyperparameters.nal.first_target_epoch=4", "recipe.window=3"]
    short = load_study("cifar10", [parse_set_flag(text) for text in sets]).with_epochs(50)
    assert matched_recipe(short.study).window == 3
    assert (
        resolve(short.study, "nal", short.study.scenarios[0]).hyperparameters.items()
        >= {"first_target_epoch": 4, "target_interval": 2}.items()
    )
    assert short.sources["recipe.window"] == "set by --set recipe.window"
    assert matched_recipe(short.study).schedule.cycle_length == 2


def test_values_scale_with_a_cycle_set_by_flags() -> None:
    sets = [
        parse_set_flag("recipe.schedule.period=5"),
        parse_set_flag("recipe.schedule.minimum=0.002"),
    ]
    short = load_study("cifar10", sets).with_epochs(50).study
    assert matched_recipe(short).schedule == CosineRestarts(5, 0.002)
    assert matched_recipe(short).window == 5
    assert (
        resolve(short, "nal", short.scenarios[0]).hyperparameters.items()
        >= {"first_target_epoch": 5, "target_interval": 5}.items()
    )
    lowest = load_study("cifar10", sets[1:]).with_epochs(250).study
    assert matched_recipe(lowest).schedule == CosineRestarts(5, 0.002)


def test_values_set_by_flags_are_not_scaled_on_overridden_scenarios() -> None:
    short = load_study("cifar10", [parse_set_flag("recipe.window=3")]).with_epochs(50).study
    recipe = matched_recipe(short, "asymmetric-0.4")
    assert (recipe.epochs, recipe.window) == (30, 3)
    override = "overrides=[{scenario: asymmetric-*, recipe: {window: 10}}]"
    sets = [parse_set_flag("recipe.window=3"), parse_set_flag(override)]
    nearer = load_study("cifar10", sets).with_epochs(50).study
    assert matched_recipe(nearer, "asymmetric-0.4").window == 2


def test_values_removed_by_flags_are_scaled() -> None:
    sets = ("first_target_epoch=null", "target_interval=null", "preset=official")
    changes = [parse_set_flag(f"hyperparameters.nal.{text}") for text in sets]
    short = load_study("cifar10", changes).with_epochs(50)
    values = resolve(short.study, "nal", "symmetric-0.4").hyperparameters
    assert (values["first_target_epoch"], values["target_interval"]) == (6, 2)
    assert short.sources["hyperparameters.nal.target_interval"] == (
        "scaled by --epochs from 10 (preset official: public code, train_cifar.py and loss.py)"
    )
