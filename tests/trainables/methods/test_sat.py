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
from trainables.methods.published import first_match
from trainables.run.parameters import FrozenMap


def weighted_loss(z: np.ndarray, t: np.ndarray) -> float:
    weights = t.max(1)
    return float((weights * -(t * log_softmax(z)).sum(1)).sum() / weights.sum())


def cross_entropy(z: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(z)[np.arange(len(z)), labels].mean())


@pytest.mark.parametrize("alpha", [0.9, 0.3])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(alpha: float, classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    method = make("sat", labels, classes, {"alpha": alpha, "first_target_epoch": 2})
    assert_loss(method, lambda z: cross_entropy(z, labels), z, epoch=1)
    t = alpha * one_hot(labels, classes) + (1 - alpha) * softmax(z)
    assert_loss(method, lambda z: weighted_loss(z, t), z, epoch=2)


@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int) -> None:
    z, labels = extreme_logits(classes)
    method = make("sat", labels, classes, {"first_target_epoch": 1})
    loss = assert_finite(method, z)
    assert loss == pytest.approx(
        weighted_loss(z, 0.9 * one_hot(labels, classes) + 0.1 * softmax(z)), rel=1e-5
    )


def test_targets_are_updated_from_the_first_target_epoch_on() -> None:
    count, classes, first = 13, 4, 2
    labels = np.arange(count) % classes
    method = make("sat", labels, classes, {"alpha": 0.8, "first_target_epoch": first})
    t = one_hot(labels, classes)
    for epoch in range(1, 5):
        z, expected = epoch_logits(epoch, count, classes), []
        for index in epoch_batches(epoch, count, 5):
            if epoch < first:
                expected.append(cross_entropy(z[index], labels[index]))
                continue
            t[index] = 0.8 * t[index] + 0.2 * softmax(z[index])
            expected.append(weighted_loss(z[index], t[index]))
        losses = [loss for loss, _ in train_epoch(method, epoch, count, classes)]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        np.testing.assert_allclose(targets_of(method).numpy(), t, rtol=1e-5, atol=1e-7)
    assert t.max(1).std() > 0.01  # the weights differ, or they would prove nothing


def test_default_first_target_epoch_is_epoch_60_of_the_public_code() -> None:
    method = make("sat", np.array([0, 1]), 2, epochs=200)
    initial_targets = targets_of(method).clone()
    for epoch in (1, 60):
        train_epoch(method, epoch, 2, 2)
        np.testing.assert_array_equal(method.estimated_targets(), initial_targets)
    train_epoch(method, 61, 2, 2)
    expected = 0.9 * np.eye(2) + 0.1 * softmax(epoch_logits(61, 2, 2))
    np.testing.assert_allclose(targets_of(method).numpy(), expected, rtol=1e-5)


def test_first_target_epoch_after_the_last_epoch_is_refused() -> None:
    values = FrozenMap({"first_target_epoch": 61})
    method_of("sat").check(values, 61)
    with pytest.raises(FieldError, match="first_target_epoch is 61, after the last epoch"):
        method_of("sat").check(values, 60)


def test_published_recipe() -> None:
    published = first_match(method_of("sat").published_recipes, "cifar100", "symmetric-incl-0.4")
    assert published is not None
    recipe = published.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (200, 256, 5e-4)
    rates = [recipe.schedule.rate(recipe.learning_rate, epoch) for epoch in (1, 101)]
    assert rates == pytest.approx([0.1, 0.05])
    assert published.hold_out == 0
