from __future__ import annotations

import numpy as np
import pytest
from method_harness import (
    CLASSES,
    SCALES,
    assert_finite,
    assert_loss,
    epoch_batches,
    epoch_logits,
    extreme_logits,
    log_softmax,
    make,
    one_hot,
    random_logits,
    ranked_labels,
    softmax,
    targets_of,
    train_epoch,
)

from trainables.errors import FieldError
from trainables.methods import method_of
from trainables.methods.published import EpochSelection, first_match
from trainables.run.parameters import FrozenMap


def soft_cross_entropy(z: np.ndarray, t: np.ndarray) -> float:
    return float(-(t * log_softmax(z)).sum(1).mean())


@pytest.mark.parametrize("alpha", [0.9, 0.3])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(alpha: float, classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    one_hot_labels = one_hot(labels, classes)
    method = make("selc", labels, classes, {"alpha": alpha, "first_target_epoch": 2})
    assert_loss(method, lambda z: soft_cross_entropy(z, one_hot_labels), z, epoch=1)
    t = alpha * one_hot_labels + (1 - alpha) * softmax(z)
    assert_loss(method, lambda z: soft_cross_entropy(z, t), z, epoch=2)


@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int) -> None:
    z, labels = extreme_logits(classes)
    loss = assert_finite(make("selc", labels, classes, {"first_target_epoch": 1}), z)
    assert loss == pytest.approx(
        soft_cross_entropy(z, 0.9 * one_hot(labels, classes) + 0.1 * softmax(z)), rel=1e-5
    )


def test_targets_are_an_ensemble_over_epochs() -> None:
    count, classes, es = 13, 4, 2
    labels = np.arange(count) % classes
    method = make("selc", labels, classes, {"alpha": 0.8, "first_target_epoch": es + 1})
    t = one_hot(labels, classes)
    for epoch in range(1, 6):
        z, expected = epoch_logits(epoch, count, classes), []
        for index in epoch_batches(epoch, count, 5):
            if epoch > es:
                t[index] = 0.8 * t[index] + 0.2 * softmax(z[index])
            expected.append(soft_cross_entropy(z[index], t[index]))
        losses = [loss for loss, _ in train_epoch(method, epoch, count, classes)]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        np.testing.assert_allclose(targets_of(method).numpy(), t, rtol=1e-5, atol=1e-7)
    # Each visit weighs the label by α, whatever the number of batches.
    past = sum(0.8 ** (5 - e) * 0.2 * softmax(epoch_logits(e, count, classes)) for e in (3, 4, 5))
    np.testing.assert_allclose(t, 0.8**3 * one_hot(labels, classes) + past, rtol=1e-12)


@pytest.mark.parametrize("noise", ["symmetric", "symmetric-incl"])
@pytest.mark.parametrize(
    ("dataset", "lasts"),
    [
        ("cifar10", {"0.2": 40, "0.4": 30, "0.6": 30, "0.8": 40}),
        ("cifar100", {"0.2": 30, "0.4": 20, "0.6": 30, "0.8": 40}),
    ],
)
def test_published_first_target_epochs_for_symmetric_noise(
    noise: str, dataset: str, lasts: dict[str, int]
) -> None:
    for rate, last in lasts.items():
        setting = first_match(method_of("selc").settings, dataset, f"{noise}-{rate}")
        assert setting is not None
        assert dict(setting.values) == {"first_target_epoch": last + 1}


@pytest.mark.parametrize(
    ("dataset", "scenario", "expected"),
    [
        ("cifar10", "asymmetric-0.4", {"first_target_epoch": 41}),
        ("cifar100", "asymmetric-0.4", {"first_target_epoch": 21}),
        ("animal10n", "human", {"first_target_epoch": 42}),  # counted from 0 there
        ("clothing1m", "human", {"first_target_epoch": 6, "alpha": 0.8}),
        ("webvision", "human", {"first_target_epoch": 41}),
    ],
)
def test_published_first_target_epochs_for_other_noise(
    dataset: str, scenario: str, expected: dict[str, float]
) -> None:
    setting = first_match(method_of("selc").settings, dataset, scenario)
    assert setting is not None
    assert dict(setting.values) == expected


def test_learning_rate_decays_one_epoch_late_on_pmd_noise() -> None:
    published = first_match(method_of("selc").published_recipes, "cifar100", "pmd-2-0.70")
    assert published is not None
    recipe = published.recipe
    assert (recipe.epochs, recipe.weight_decay, recipe.batch_size) == (150, 5e-4, 128)
    assert recipe.reset_optimizer
    rates = [recipe.schedule.rate(recipe.learning_rate, epoch) for epoch in (61, 62, 121, 122)]
    assert rates == pytest.approx([0.1, 0.02, 0.02, 0.004])


def test_animal10n_recipe_is_that_of_plc() -> None:
    own, other = (
        first_match(method_of(name).published_recipes, "animal10n", "human")
        for name in ("selc", "plc")
    )
    assert own is not None
    assert other is not None
    assert own.recipe == other.recipe
    rates = [own.recipe.schedule.rate(own.recipe.learning_rate, epoch) for epoch in (50, 51, 76)]
    assert rates == pytest.approx([0.1, 0.02, 0.004])
    assert (own.recipe.momentum, own.selection) == (0, EpochSelection.LAST)


def test_clothing1m_numbers_are_selected_by_test_accuracy() -> None:
    published = first_match(method_of("selc").published_recipes, "clothing1m", "human")
    assert published is not None
    assert published.selection is EpochSelection.TEST


def test_first_target_epoch_after_the_last_epoch_is_refused() -> None:
    values = FrozenMap({"first_target_epoch": 41})
    method_of("selc").check(values, 41)
    with pytest.raises(FieldError, match="first_target_epoch is 41, after the last epoch"):
        method_of("selc").check(values, 40)
