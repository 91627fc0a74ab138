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
    predict_forbidden,
    random_logits,
    ranked_labels,
    softmax,
    step,
    train_epoch,
)

from trainables.errors import FieldError
from trainables.methods import method_of
from trainables.methods.published import EpochSelection, first_match
from trainables.run.parameters import FrozenMap

RHO, EPSILON = 0.9, 1e-4


def matrices(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return A of each sample, shape (n, K, K): ρ - ε/(K - 1) in its label's row, ε elsewhere."""
    a = np.full((len(labels), classes, classes), EPSILON)
    a[np.arange(len(labels)), labels] = RHO - EPSILON / (classes - 1)
    return a


def softened(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return soft labels s: 0.99 for the label, the rest spread evenly over the other classes."""
    return np.where(one_hot(labels, classes) == 1, 0.99, 0.01 / (classes - 1))


def ratio_test(
    z: np.ndarray,
    labels: np.ndarray,
    soft_labels: np.ndarray | None,
    matrix: np.ndarray | None = None,
) -> float:
    """Return cross entropy plus the retroactive term, if any, with the full matrices."""
    log_p = log_softmax(z)
    loss = -log_p[np.arange(len(z)), labels]
    if soft_labels is not None and matrix is not None:
        loss = loss - (np.einsum("nij,nj->ni", matrix, soft_labels) * log_p).sum(1)
    return float(loss.mean())


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient_without_the_retroactive_term(classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    for values, epoch in (({}, 25), ({"retro": False}, 26)):
        method = make("lrt", labels, classes, values, epochs=180)
        assert_loss(method, lambda z: ratio_test(z, labels, None), z, epoch)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_retroactive_term_matches_the_full_matrices(classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    method = make("lrt", labels, classes, {"first_retro_epoch": 2}, epochs=40)
    uniform = np.full((6, classes, classes), 1 / classes)
    # Before any matrix is computed, A is 1/K throughout.
    s = softened(labels, classes)
    assert_loss(method, lambda z: ratio_test(z, labels, s, uniform), z, epoch=2)
    method.end_epoch(1, predict_forbidden)
    # The label that s is of does not matter, since s sums to 1.
    for other in (labels, (labels + 1) % classes):
        s, a = softened(other, classes), matrices(labels, classes)
        np.testing.assert_allclose(s.sum(1), 1)
        assert_loss(method, lambda z: ratio_test(z, labels, s, a), z, epoch=2)  # noqa: B023


@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int) -> None:
    z, labels = extreme_logits(classes)
    method = make("lrt", labels, classes, {"first_retro_epoch": 2, "first_correction_epoch": 2})
    assert assert_finite(method, z) == pytest.approx(ratio_test(z, labels, None), rel=1e-6)
    method.end_epoch(1, predict_forbidden)
    assert_finite(method, z, 2)
    method.end_epoch(2, predict_forbidden)
    # The second sample's label has no probability at all: it flips to the class that has.
    assert method.state_dict()["labels"].tolist() == [0, 1, 0, 0]


def test_labels_are_corrected_and_stored_on_schedule() -> None:
    count, classes, epochs = 13, 4, 16
    labels = np.arange(count) % classes
    values = {
        "threshold": 1.1,
        "growth": 0.05,
        "first_correction_epoch": 3,
        "first_retro_epoch": 4,
        "retro_interval": 6,
    }
    method = make("lrt", labels, classes, values, epochs=epochs)
    current, predictions, flips = labels.copy(), [], []
    a = np.full((count, classes, classes), 1 / classes)
    for epoch in range(1, epochs + 1):
        z = epoch_logits(epoch, count, classes)
        s = softened(current, classes)
        expected = [
            ratio_test(z[index], current[index], s[index] if epoch >= 4 else None, a[index])
            for index in epoch_batches(epoch, count, 5)
        ]
        losses = [loss for loss, _ in train_epoch(method, epoch, count, classes)]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        predictions.append(softmax(z))
        if epoch + 1 in (4, 10):  # of the labels that the epoch was trained with
            a = matrices(current, classes)
        if epoch >= 3:
            f = np.mean(predictions[-10:], axis=0)
            ratio = f.max(1) / f[np.arange(count), current]
            flipped = ratio > 1.1 + 0.05 * max(epoch - 3 + 1, 0)
            current = np.where(flipped, f.argmax(1), current)
            flips.append(int(flipped.sum()))
        assert method.state_dict()["labels"].tolist() == current.tolist()
        np.testing.assert_array_equal(method.estimated_targets(), one_hot(current, classes))
    assert sum(flip > 0 for flip in flips) > 2
    # Labels went on changing after the second time they were remembered.
    assert method.state_dict()["remembered"].tolist() not in (labels.tolist(), current.tolist())


def test_threshold_grows_with_each_epoch_of_correction() -> None:
    # max f / f_ỹ is 1.25 for both samples: above 1.22 in the first epoch, below 1.26 in the third.
    z = np.log([[4.0, 5.0], [5.0, 4.0]])
    for epoch, expected in ((31, [1, 0]), (32, [1, 0]), (33, [0, 1]), (30, [0, 1])):
        method = make("lrt", np.array([0, 1]), 2, epochs=180)
        for earlier in range(1, epoch + 1):
            step(method, z, epoch=earlier)
        method.end_epoch(epoch, predict_forbidden)
        assert method.state_dict()["labels"].tolist() == expected


def test_retroactive_labels_are_stored_before_epochs_26_and_66() -> None:
    method = make("lrt", np.array([0, 1]), 2, {"first_correction_epoch": 180}, epochs=180)
    remembered, stored_before = method.state_dict()["remembered"], []
    for epoch in range(1, 120):
        remembered.fill_(-1)
        method.end_epoch(epoch, predict_forbidden)
        if remembered.tolist() == [0, 1]:
            stored_before.append(epoch + 1)
    assert stored_before == [26, 66]


# `epoch_start` and `epoch_update` in the README of the public code, which counts epochs from 0.
@pytest.mark.parametrize(
    ("dataset", "scenario", "epoch_start", "epoch_update"),
    [
        ("cifar10", "symmetric-0.2", 25, 30),
        ("cifar10", "symmetric-0.8", 20, 25),
        ("cifar10", "asymmetric-0.4", 20, 25),
        ("cifar100", "symmetric-incl-0.6", 25, 30),
        ("cifar100", "symmetric-0.8", 30, 35),
        ("cifar100", "asymmetric-0.4", 25, 30),
    ],
)
def test_published_epochs(dataset: str, scenario: str, epoch_start: int, epoch_update: int) -> None:
    setting = first_match(method_of("lrt").settings, dataset, scenario)
    assert setting is not None
    assert dict(setting.values) == {
        "first_retro_epoch": epoch_start + 1,
        "first_correction_epoch": epoch_update + 1,
    }


@pytest.mark.parametrize(
    ("dataset", "mean", "std"),
    [
        ("cifar10", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("cifar100", (0.507, 0.487, 0.441), (0.507, 0.487, 0.441)),
    ],
)
def test_published_recipe(dataset: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    published = first_match(method_of("lrt").published_recipes, dataset, "pmd-1-0.35")
    assert published is not None
    recipe = published.recipe
    assert (recipe.optimizer, recipe.weight_decay, recipe.reset_optimizer) == ("radam", 5e-4, True)
    assert (recipe.epochs, recipe.batch_size, recipe.mean, recipe.std) == (180, 128, mean, std)
    # The rate halves after epochs 60, 120 and 160 counted from 0: 61, 121 and 161 from 1.
    rates = [recipe.schedule.rate(recipe.learning_rate, e) for e in (61, 62, 121, 122, 161, 162)]
    assert rates == pytest.approx([1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 1.25e-4])
    # 45,000 training samples; the rest chooses nothing.
    assert (published.hold_out, published.selection) == (0.1, EpochSelection.LAST)
    assert "until August 2020 its learning rate was 0.01" in published.source


def test_first_correction_epoch_after_the_last_epoch_is_refused() -> None:
    values = FrozenMap({"first_correction_epoch": 31})
    method_of("lrt").check(values, 31)
    with pytest.raises(FieldError, match="first_correction_epoch is 31, after the last epoch"):
        method_of("lrt").check(values, 30)
