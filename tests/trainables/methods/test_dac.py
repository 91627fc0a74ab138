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
    predict_forbidden,
    random_logits,
    ranked_labels,
    softmax,
    step,
    train_epoch,
)

from trainables.errors import FieldError
from trainables.methods import method_of
from trainables.methods.published import first_match
from trainables.run.parameters import FrozenMap


def class_losses(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross entropy of each sample over the classes without abstention."""
    p = softmax(z)
    losses: np.ndarray = -np.log((p / (1 - p[:, -1:]))[np.arange(len(z)), labels])
    return losses


def abstention_loss(z: np.ndarray, labels: np.ndarray, alpha: float) -> float:
    retained = 1 - softmax(z)[:, -1]
    return float((retained * class_losses(z, labels) - alpha * np.log(retained)).mean())


def cross_entropy(z: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(z)[np.arange(len(z)), labels].mean())


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(classes: int, scale: float) -> None:
    z = random_logits(6, classes + 1, scale)
    labels = ranked_labels(z[:, :-1])
    method = make("dac-abstain", labels, classes, {"warm_up_epochs": 1, "final_alpha": 1.7})
    assert_loss(method, lambda z: cross_entropy(z, labels), z, epoch=1)
    # In the last of the 10 epochs α is `final_alpha`.
    assert_loss(method, lambda z: abstention_loss(z, labels, 1.7), z, epoch=10)


@pytest.mark.parametrize("epoch", [1, 10])
@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int, epoch: int) -> None:
    z, labels = extreme_logits(classes + 1)
    sure_to_abstain = np.full((1, classes + 1), -200.0)
    sure_to_abstain[0, -1] = 200.0
    z, labels = np.concatenate([z, sure_to_abstain]), np.append(labels, 0)
    method = make("dac-abstain", labels, classes, {"warm_up_epochs": 1})
    loss = assert_finite(method, z, epoch)
    if epoch == 10:
        # The loss of the abstained sample is α × 400 minus log K.
        alone = make("dac-abstain", labels[4:], classes, {"warm_up_epochs": 1})
        assert assert_finite(alone, z[4:], epoch) == pytest.approx(400 - np.log(classes), rel=1e-5)
        assert loss > 60


def test_alpha_rises_linearly_from_the_moving_average() -> None:
    count, classes, warm_up, epochs = 13, 4, 2, 6
    labels = np.arange(count) % classes
    values = {"warm_up_epochs": warm_up, "final_alpha": 2.0}
    method = make("dac-abstain", labels, classes, values, epochs=epochs)
    average = start = None
    for epoch in range(1, epochs + 1):
        expected = []
        z = epoch_logits(epoch, count, classes + 1)
        for index in epoch_batches(epoch, count, 5):
            weighted = (
                (1 - softmax(z[index])[:, -1]) * class_losses(z[index], labels[index])
            ).mean()
            average = weighted if average is None else 0.05 * weighted + 0.95 * average
            if epoch <= warm_up:
                expected.append(cross_entropy(z[index], labels[index]))
                continue
            start = average / 64 if start is None else start
            # Epochs 3, 4, 5 and 6: 0, 1/3, 2/3 and all of the way.
            alpha = start + (epoch - 3) / 3 * (2.0 - start)
            expected.append(abstention_loss(z[index], labels[index], alpha))
        losses = [loss for loss, _ in train_epoch(method, epoch, count, classes + 1)]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        state = method.state_dict()
        assert state["average"].item() == pytest.approx(average, rel=1e-5)
        assert state["start"].isnan().item() == (start is None)
    assert state["start"].item() == pytest.approx(start, rel=1e-5)


def test_alpha_is_initial_with_a_single_epoch_of_abstention() -> None:
    z, labels = random_logits(4, 3), np.array([0, 1, 0, 1])
    method = make("dac-abstain", labels, 2, {"warm_up_epochs": 1}, epochs=2)
    average = ((1 - softmax(z)[:, -1]) * class_losses(z, labels)).mean()
    loss, _ = step(method, z, epoch=2)
    assert loss == pytest.approx(abstention_loss(z, labels, average / 64), rel=1e-5)


def test_samples_are_retained_unless_abstention_is_likeliest() -> None:
    method = make("dac-abstain", np.zeros(3, int), 2)
    p = torch.tensor([[0.2, 0.3, 0.5], [0.4, 0.3, 0.3], [0.1, 0.5, 0.4]])
    assert method.outcome("retained", lambda: p).tolist() == [False, True, True]
    assert torch.equal(method.outcome("predictions", lambda: p), p[:, :2])
    assert method.output_count(2) == 3


def test_a_warm_up_without_an_epoch_after_it_is_refused() -> None:
    values = FrozenMap({"warm_up_epochs": 20})
    method_of("dac-abstain").check(values, 21)
    with pytest.raises(FieldError) as caught:
        method_of("dac-abstain").check(values, 20)
    assert caught.value.field == "warm_up_epochs"
    assert caught.value.message == (
        "warm_up_epochs is 20 of 20 epochs, but at least one epoch must follow: train for at least "
        "21 epochs"
    )


@pytest.mark.parametrize("classes", CLASSES)
def test_second_training_uses_retained_samples_only(classes: int) -> None:
    z = random_logits(6, classes)
    labels = ranked_labels(z)
    retained = np.array([True, False, True, True, False, False])
    method = make("dac", labels, classes, inputs={"retained": retained})
    assert_loss(method, lambda z: cross_entropy(z[retained], labels[retained]), z)
    _, gradient = step(method, z)
    np.testing.assert_array_equal((gradient != 0).any(1), retained)
    loss, gradient = step(method, z[:2], np.array([1, 4]))  # none of them retained
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros((2, classes)))
    z, labels = extreme_logits(classes)
    assert_finite(make("dac", labels, classes, inputs={"retained": retained[:4]}), z)
    method.end_epoch(1, predict_forbidden)
    assert method.output_count(classes) == classes


@pytest.mark.parametrize("name", ["dac-abstain", "dac"])
@pytest.mark.parametrize(
    ("dataset", "std"),
    [("cifar10", (0.2023, 0.1994, 0.2010)), ("cifar100", (0.2675, 0.2565, 0.2761))],
)
def test_published_recipe(name: str, dataset: str, std: tuple[float, ...]) -> None:
    published = first_match(method_of(name).published_recipes, dataset, "symmetric-incl-0.4")
    assert published is not None
    recipe = published.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (200, 128, 5e-4)
    assert (recipe.reset_optimizer, recipe.nesterov, recipe.std) == (True, False, std)
    rates = [recipe.schedule.rate(recipe.learning_rate, epoch) for epoch in (60, 61, 121, 161)]
    assert rates == pytest.approx([0.1, 0.02, 0.004, 0.0008])
