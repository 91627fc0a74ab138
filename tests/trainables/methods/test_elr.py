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
    step,
    targets_of,
    train_epoch,
)

from trainables.methods import method_of
from trainables.methods.published import EpochSelection, first_match

FLOOR = 1e-4


def clamped_softmax(z: np.ndarray) -> np.ndarray:
    p: np.ndarray = np.clip(softmax(z), FLOOR, 1 - FLOOR)
    return p


def update_targets(t: np.ndarray, z: np.ndarray, beta: float) -> np.ndarray:
    p = clamped_softmax(z)
    targets: np.ndarray = beta * t + (1 - beta) * p / p.sum(1, keepdims=True)
    return targets


def elr_loss(z: np.ndarray, labels: np.ndarray, t: np.ndarray, weight: float) -> float:
    label_loss = -log_softmax(z)[np.arange(len(z)), labels]
    return float((label_loss + weight * np.log(1 - (t * clamped_softmax(z)).sum(1))).mean())


@pytest.mark.parametrize(("weight", "beta"), [(3.0, 0.7), (7.0, 0.9), (0.0, 0.5)])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(weight: float, beta: float, classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    # The target is updated before the loss is computed, and is a constant in the gradient.
    t = update_targets(np.zeros_like(z), z, beta)
    method = make("elr", labels, classes, {"lambda": weight, "beta": beta})
    assert_loss(method, lambda z: elr_loss(z, labels, t, weight), z)


@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int) -> None:
    z, labels = extreme_logits(classes)
    method = make("elr", labels, classes)
    t = np.zeros_like(z)
    for _ in range(60):  # until the targets are as sure as the predictions
        loss = assert_finite(method, z)
        t = update_targets(t, z, 0.7)
    # 1 - tᵀp is near 1e-4 there, where float32 has three digits.
    assert loss == pytest.approx(elr_loss(z, labels, t, 3.0), rel=1e-3)
    assert (1 - (t * clamped_softmax(z)).sum(1)).min() < 1.2e-2


def test_targets_are_updated_at_every_step() -> None:
    count, classes = 13, 4
    labels = np.arange(count) % classes
    method = make("elr", labels, classes, {"lambda": 2.0, "beta": 0.9})
    t = np.zeros((count, classes))
    for epoch in range(1, 4):
        z, expected = epoch_logits(epoch, count, classes), []
        for index in epoch_batches(epoch, count, 5):
            t[index] = update_targets(t[index], z[index], 0.9)
            expected.append(elr_loss(z[index], labels[index], t[index], 2.0))
        losses = [loss for loss, _ in train_epoch(method, epoch, count, classes)]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        np.testing.assert_allclose(method.state_dict()["targets"], t, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(t.sum(1), 1 - 0.9**3)


def test_estimated_targets_are_normalised_or_the_given_label() -> None:
    z, labels = random_logits(3, 4), np.array([3, 1, 0])
    method = make("elr", labels, 4)
    step(method, z[[0, 2]], np.array([0, 2]))
    p = clamped_softmax(z) / clamped_softmax(z).sum(1, keepdims=True)
    p[1] = one_hot(labels, 4)[1]
    np.testing.assert_allclose(targets_of(method).numpy(), p, rtol=1e-5)


@pytest.mark.parametrize(
    ("dataset", "scenario", "weight", "beta", "epochs", "rates"),
    [
        ("cifar10", "symmetric-0.2", 3.0, 0.7, 150, (0.02, 0.0014649, 0.02)),
        ("cifar10", "asymmetric-0.4", 1.0, 0.9, 120, (0.02, 0.02, 0.02)),
        ("cifar100", "symmetric-0.8", 7.0, 0.9, 150, (0.02, 0.02, 0.02)),
        ("cifar100", "asymmetric-0.4", 7.0, 0.9, 150, (0.02, 0.02, 0.02)),
    ],
)
def test_published_values(
    dataset: str,
    scenario: str,
    weight: float,
    beta: float,
    epochs: int,
    rates: tuple[float, ...],
) -> None:
    setting = first_match(method_of("elr").settings, dataset, scenario)
    published = first_match(method_of("elr").published_recipes, dataset, scenario)
    assert setting is not None
    assert published is not None
    assert dict(setting.values) == {"lambda": weight, "beta": beta}
    recipe = published.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (epochs, 128, 1e-3)
    rates_at_1_10_11 = [recipe.schedule.rate(recipe.learning_rate, epoch) for epoch in (1, 10, 11)]
    assert rates_at_1_10_11 == pytest.approx(rates, rel=1e-4)
    assert (published.hold_out, published.selection) == (0.1, EpochSelection.NOISY)
    assert (recipe.mean is not None) == (dataset == "cifar100")
