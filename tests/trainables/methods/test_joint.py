from __future__ import annotations

import numpy as np
import pytest
import torch
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
    predict_forbidden,
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


def joint(z: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> float:
    p, log_p = softmax(z), log_softmax(z)
    given = -(y * log_p).sum(1).mean()
    prior = -np.log(p.mean(0)).sum() / z.shape[1]
    entropy = -(p * log_p).sum(1).mean()
    return float(given + alpha * prior + beta * entropy)


@pytest.mark.parametrize(("alpha", "beta"), [(1.2, 0.8), (0.0, 2.0), (2.0, 0.0)])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(alpha: float, beta: float, classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    method = make("joint-labels", labels, classes, {"alpha": alpha, "beta": beta})
    assert_loss(method, lambda z: joint(z, one_hot(labels, classes), alpha, beta), z)


@pytest.mark.parametrize("classes", CLASSES)
def test_loss_and_gradient_of_the_second_training(classes: int) -> None:
    z = random_logits(6, classes)
    y = softmax(random_logits(6, classes, seed=1)).astype(np.float32)
    method = make("joint", np.zeros(6, int), classes, inputs={"labels": y})
    assert_loss(method, lambda z: float(-(y * log_softmax(z)).sum(1).mean()), z)
    np.testing.assert_array_equal(targets_of(method), y)
    z, _ = extreme_logits(classes)
    assert_finite(make("joint", np.zeros(4, int), classes, inputs={"labels": y[:4]}), z)


@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int) -> None:
    z, labels = extreme_logits(classes)
    method = make("joint-labels", labels, classes)
    assert_finite(method, z)
    # A class that no sample of the batch could be of: its mean prediction underflows.
    z[:] = -200.0
    z[:, 0] = 200.0
    loss = assert_finite(method, z)
    assert loss == pytest.approx(1.2 * 400 * (classes - 1) / classes, rel=1e-5)


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("first", [1, 3])
def test_labels_are_mean_predictions_of_the_last_ten_epochs(kind: str, first: int) -> None:
    count, classes = 13, 4
    labels = np.arange(count) % classes
    values = {"first_label_epoch": first, "labels": kind}
    method = make("joint-labels", labels, classes, values)
    y = one_hot(labels, classes)
    predictions: list[np.ndarray] = []
    for epoch in range(1, 15):
        z = epoch_logits(epoch, count, classes)
        expected = [joint(z[index], y[index], 1.2, 0.8) for index in epoch_batches(epoch, count, 5)]
        losses = [loss for loss, _ in train_epoch(method, epoch, count, classes)]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        predictions.append(softmax(z))
        if epoch + 1 >= first:
            y = np.mean(predictions[-10:], axis=0)
            y = one_hot(y.argmax(1), classes) if kind == "hard" else y
        np.testing.assert_allclose(targets_of(method).numpy(), y, rtol=1e-5, atol=1e-7)
    found = method.outcome("labels", predict_forbidden)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-7)


def test_first_epoch_with_learned_labels_is_71_by_default() -> None:
    # Epoch 70 of the code, which counts from 0.
    method = make("joint-labels", np.array([0, 1]), 2, epochs=200)
    given = targets_of(method).clone()
    for epoch in range(1, 71):
        assert torch.equal(targets_of(method), given)
        train_epoch(method, epoch, 2, 2)
    assert not torch.equal(targets_of(method), given)


def test_outcome_predictions_is_a_pass_over_the_samples() -> None:
    found = make("joint-labels", np.zeros(2, int), 2).outcome("predictions", lambda: torch.eye(2))
    assert torch.equal(found, torch.eye(2))


def test_first_label_epoch_after_the_last_epoch_is_refused_in_the_first_training_only() -> None:
    values = FrozenMap({"first_label_epoch": 71})
    method_of("joint").check(values, 20)
    with pytest.raises(FieldError, match="first_label_epoch is 71, after the last epoch"):
        method_of("joint-labels").check(values, 70)


@pytest.mark.parametrize(
    ("dataset", "scenario", "alpha", "beta", "rate", "padding"),
    [
        ("cifar10", "symmetric-0.2", 1.2, 0.8, 0.08, 8),
        ("cifar10", "asymmetric-0.4", 0.8, 0.4, 0.03, 8),
        ("cifar100", "symmetric-0.2", 1.0, 0.5, 0.1, 4),
    ],
)
def test_published_values(
    dataset: str, scenario: str, alpha: float, beta: float, rate: float, padding: int
) -> None:
    first, second = method_of("joint-labels"), method_of("joint")
    for method in (first, second):
        setting = first_match(method.settings, dataset, scenario)
        assert setting is not None
        assert dict(setting.values) == {"alpha": alpha, "beta": beta}
    published = first_match(first.published_recipes, dataset, scenario)
    assert published is not None
    assert (published.recipe.epochs, published.recipe.learning_rate) == (200, rate)
    assert published.recipe.crop_padding == padding
    # The Chainer code enlarges images instead of padding them.
    assert ("enlarges images to 40 × 40" in published.source) == (padding == 4)
    assert {published.recipe.schedule.rate(rate, epoch) for epoch in range(1, 201)} == {rate}
    again = first_match(second.published_recipes, dataset, scenario)
    assert again is not None
    assert (again.recipe.epochs, again.recipe.learning_rate) == (120, 0.2)
    # 45,000 training samples; the Chainer code tests the network of the last epoch.
    assert (again.hold_out, again.selection) == (0.1, EpochSelection.LAST)
