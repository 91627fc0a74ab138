from __future__ import annotations

import numpy as np
import pytest
import torch
from method_harness import (
    CLASSES,
    SCALES,
    assert_finite,
    assert_loss,
    epoch_logits,
    extreme_logits,
    make,
    predict_forbidden,
    random_logits,
    ranked_labels,
    softmax,
    step,
    train_epoch,
)

from trainables.errors import FieldError
from trainables.methods import method_of
from trainables.methods.gce import TruncatedGeneralisedCrossEntropy
from trainables.methods.published import first_match
from trainables.run.parameters import FrozenMap
from trainables.run.schedules import MultiStep


def generalised(z: np.ndarray, labels: np.ndarray, q: float) -> np.ndarray:
    losses: np.ndarray = (1 - softmax(z)[np.arange(len(z)), labels] ** q) / q
    return losses


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


def test_pruned_samples_have_a_constant_loss() -> None:
    count, classes = 12, 10
    labels = np.arange(count) % classes
    method = make(
        "gce-truncated",
        labels,
        classes,
        {"k": 0.2, "first_pruning_epoch": 3, "pruning_interval": 2},
    )
    unpruned = np.ones(count, bool)
    masks = []
    for epoch in range(1, 8):
        z = epoch_logits(epoch, count, classes)
        for loss, gradient in train_epoch(method, epoch, count, classes, size=count):
            # One batch per epoch, rolled: the gradient of a pruned sample is exactly 0.
            positions = np.roll(np.arange(count), 3 * epoch)
            losses = np.where(unpruned, generalised(z, labels, 0.7), (1 - 0.2**0.7) / 0.7)
            assert loss == pytest.approx(losses.mean(), rel=1e-6)
            np.testing.assert_array_equal((gradient != 0).any(1), unpruned[positions])
        if epoch in (2, 4, 6):  # epochs 3, 5 and 7 are the first with what was decided
            unpruned = softmax(z)[np.arange(count), labels] > 0.2
        np.testing.assert_array_equal(method.state_dict()["kept"].numpy(), unpruned)
        masks.append(unpruned.tolist())
    assert masks[1] != masks[3] != masks[5]
    assert 0 < unpruned.sum() < count


def test_default_pruning_epochs_are_those_of_the_port() -> None:
    method = make("gce-truncated", np.array([0, 1]), 2, epochs=120)
    prediction_epochs = []

    def predict() -> torch.Tensor:
        prediction_epochs.append(epoch)
        return torch.tensor([[0.5, 0.5], [0.49, 0.51]])

    for epoch in range(1, 81):
        method.end_epoch(epoch, predict)
    # The port prunes before epochs 40, 50, ..., counted from 1.
    assert prediction_epochs == [39, 49, 59, 69, 79]
    # p of 0.5 is not above k.
    assert method.state_dict()["kept"].tolist() == [False, True]
    make("gce", np.array([0]), 2).end_epoch(40, predict_forbidden)


@pytest.mark.parametrize(
    ("dataset", "start_prune", "epochs", "milestones", "std"),
    [
        ("cifar10", 40, 120, (40, 80), (0.247, 0.243, 0.262)),
        ("cifar100", 80, 150, (80, 120), (0.267, 0.256, 0.276)),
    ],
)
def test_published_values_are_those_of_the_port(
    dataset: str,
    start_prune: int,
    epochs: int,
    milestones: tuple[int, int],
    std: tuple[float, ...],
) -> None:
    setting = first_match(TruncatedGeneralisedCrossEntropy.settings, dataset, "symmetric-0.4")
    assert setting is not None
    assert dict(setting.values) == {"first_pruning_epoch": start_prune}
    for name in ("gce", "gce-truncated"):
        published = first_match(method_of(name).published_recipes, dataset, "symmetric-0.4")
        assert published is not None
        recipe = published.recipe
        assert (recipe.epochs, recipe.learning_rate, recipe.weight_decay) == (epochs, 0.01, 1e-4)
        assert (recipe.schedule, recipe.std) == (MultiStep(milestones), std)
        assert ("best test accuracy" in published.source) == (name == "gce-truncated")


def test_first_pruning_epoch_after_the_last_epoch_is_refused() -> None:
    values = FrozenMap({"first_pruning_epoch": 11})
    TruncatedGeneralisedCrossEntropy.check(values, 11)
    with pytest.raises(
        FieldError, match="first_pruning_epoch is 11, after the last epoch"
    ) as caught:
        TruncatedGeneralisedCrossEntropy.check(values, 10)
    assert caught.value.message.endswith("(10): choose an epoch from 1 to 10")


def test_batch_of_pruned_samples_has_zero_gradient() -> None:
    method = make("gce-truncated", np.array([0, 1]), 2, {"first_pruning_epoch": 2})
    method.end_epoch(1, lambda: torch.full((2, 2), 0.5))
    loss, gradient = step(method, np.zeros((2, 2)), epoch=2)
    assert loss == pytest.approx((1 - 0.5**0.7) / 0.7)
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))
