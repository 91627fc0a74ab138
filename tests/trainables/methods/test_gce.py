from __future__ import annotations

import numpy as np
import pytest
import torch
from driving import (
    CLASSES,
    SCALES,
    assert_finite,
    assert_loss,
    extreme_logits,
    logits_at,
    make,
    no_pass,
    random_logits,
    ranked_labels,
    softmax,
    step,
    train_epoch,
)

from trainables.errors import FieldError
from trainables.methods.gce import TruncatedGeneralisedCrossEntropy
from trainables.run.parameters import FrozenMap


def generalised(z: np.ndarray, labels: np.ndarray, q: float) -> np.ndarray:
    return (1 - softmax(z)[np.arange(len(z)), labels] ** q) / q


@pytest.mark.parametrize("q", [0.7, 1.0, 0.05])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(q: float, classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    for name in ("gce", "gce-truncated"):  # before it prunes, the same
        method = make(name, labels, classes, {"q": q})
        assert_loss(method, lambda z: float(generalised(z, labels, q).mean()), z)


@pytest.mark.parametrize("name", ["gce", "gce-truncated"])
@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(name: str, classes: int) -> None:
    z, labels = extreme_logits(classes)
    loss = assert_finite(make(name, labels, classes), z)
    # Sure and right 0, sure and wrong 1/q, the others by their share.
    expected = (0 + 1 + (1 - 0.5**0.7) + (1 - (1 / classes) ** 0.7)) / 0.7 / 4
    assert loss == pytest.approx(expected, rel=1e-6)


def test_pruned_samples_are_constant() -> None:
    count, classes = 12, 10
    labels = np.arange(count) % classes
    method = make(
        "gce-truncated",
        labels,
        classes,
        {"k": 0.2, "first_pruning_epoch": 3, "pruning_interval": 2},
    )
    kept = np.ones(count, bool)
    seen = []
    for epoch in range(1, 8):
        z = logits_at(epoch, count, classes)
        for loss, gradient in train_epoch(method, epoch, count, classes, size=count):
            # One batch per epoch, rolled: the gradient of a pruned sample is exactly 0.
            positions = np.roll(np.arange(count), 3 * epoch)
            losses = np.where(kept, generalised(z, labels, 0.7), (1 - 0.2**0.7) / 0.7)
            assert loss == pytest.approx(losses.mean(), rel=1e-6)
            np.testing.assert_array_equal((gradient != 0).any(1), kept[positions])
        if epoch in (2, 4, 6):  # epochs 3, 5 and 7 are the first with what was decided
            kept = softmax(z)[np.arange(count), labels] > 0.2
        np.testing.assert_array_equal(method.state_dict()["kept"].numpy(), kept)
        seen.append(kept.tolist())
    assert seen[1] != seen[3] != seen[5]
    assert 0 < kept.sum() < count


def test_the_port_prunes_after_epoch_40_and_every_10_epochs() -> None:
    method = make("gce-truncated", np.array([0, 1]), 2, epochs=120)
    asked = []

    def predict() -> torch.Tensor:
        asked.append(epoch)
        return torch.tensor([[0.5, 0.5], [0.49, 0.51]])

    for epoch in range(1, 81):
        method.end_epoch(epoch, predict)
    assert asked == [40, 50, 60, 70, 80]
    # p of 0.5 is not above k.
    assert method.state_dict()["kept"].tolist() == [False, True]
    make("gce", np.array([0]), 2).end_epoch(40, no_pass)


def test_it_may_prune_from_the_first_epoch_but_not_after_the_last() -> None:
    values = FrozenMap({"first_pruning_epoch": 11})
    TruncatedGeneralisedCrossEntropy.check(values, 11)
    with pytest.raises(FieldError, match="first_pruning_epoch is 11, after the last epoch") as late:
        TruncatedGeneralisedCrossEntropy.check(values, 10)
    assert late.value.message.endswith("(10): choose one from 1 to 10")


def test_a_batch_of_pruned_samples_has_a_graph() -> None:
    method = make("gce-truncated", np.array([0, 1]), 2, {"first_pruning_epoch": 2})
    method.end_epoch(1, lambda: torch.full((2, 2), 0.5))
    loss, gradient = step(method, np.zeros((2, 2)), epoch=2)
    assert loss == pytest.approx((1 - 0.5**0.7) / 0.7)
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))
