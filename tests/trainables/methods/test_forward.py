from __future__ import annotations

import numpy as np
import pytest
import torch
from method_harness import (
    CLASSES,
    SCALES,
    assert_finite,
    assert_loss,
    extreme_logits,
    make,
    random_logits,
    ranked_labels,
    softmax,
    step,
)

from trainables.methods import method_of
from trainables.methods.forward import estimate_transition
from trainables.methods.published import first_match
from trainables.run.schedules import MultiStep


def forward(z: np.ndarray, labels: np.ndarray, transition: np.ndarray) -> float:
    """Return the mean of -log (pᵀT)_ỹ, computed directly."""
    return float(-np.log((softmax(z) @ transition)[np.arange(len(z)), labels]).mean())


def transition_of(classes: int) -> np.ndarray:
    """Return an asymmetric transition matrix, so that T and its transpose give other losses."""
    rows = 3 * np.eye(classes) + np.random.default_rng(1).random((classes, classes))
    transition: np.ndarray = rows / rows.sum(1, keepdims=True)
    return transition.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels, transition = ranked_labels(z), transition_of(classes)
    method = make("forward-true", labels, classes, transition=transition)
    assert_loss(method, lambda z: forward(z, labels, transition), z)


@pytest.mark.parametrize("classes", CLASSES)
def test_estimated_transition_is_used_in_the_same_loss(classes: int) -> None:
    z = random_logits(6, classes)
    labels = ranked_labels(z)
    predictions = softmax(random_logits(200, classes, 3.0, seed=1)).astype(np.float32)
    method = make(
        "forward", labels, classes, {"percentile": 100}, inputs={"predictions": predictions}
    )
    estimated = predictions[predictions.argmax(0)].astype(np.float64)
    assert_loss(method, lambda z: forward(z, labels, estimated), z)


@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int) -> None:
    z, labels = extreme_logits(classes)
    transition = transition_of(classes)
    loss = assert_finite(make("forward-true", labels, classes, transition=transition), z)
    assert loss == pytest.approx(forward(z, labels, transition), rel=1e-6)
    # A label that T excludes has the logarithm of 1e-8, not of 0.
    never = np.roll(np.eye(classes), 1, axis=1)
    loss, gradient = step(make("forward-true", labels[:1], classes, transition=never), z[:1])
    assert loss == pytest.approx(-np.log(1e-8), rel=1e-6)
    assert np.isfinite(gradient).all()


def test_loss_is_cross_entropy_without_noise() -> None:
    z = random_logits(6, 10)
    labels = ranked_labels(z)
    given = step(make("forward-true", labels, 10, transition=np.eye(10)), z)
    plain = step(make("ce", labels, 10), z)
    assert given[0] == pytest.approx(plain[0], rel=1e-5)
    np.testing.assert_allclose(given[1], plain[1], atol=1e-6)


# Sorted by the first class: 0.1 (e), 0.3 (c), 0.5 (d), 0.7 (b), 0.9 (a); by the second the other
# way round. Five samples: the 97th percentile, at position 0.97 × 4 = 3.88, is the 5th, so that the
# 4th is the highest below it; the 75th, at position 3, is the 4th; the 50th the 3rd.
PREDICTIONS = [[0.9, 0.1], [0.7, 0.3], [0.3, 0.7], [0.5, 0.5], [0.1, 0.9]]


@pytest.mark.parametrize(
    ("percentile", "expected"),
    [
        (100, [[0.9, 0.1], [0.1, 0.9]]),
        (97, [[0.7, 0.3], [0.3, 0.7]]),
        (75, [[0.5, 0.5], [0.5, 0.5]]),
        (74, [[0.5, 0.5], [0.5, 0.5]]),
        (50, [[0.3, 0.7], [0.7, 0.3]]),
    ],
)
def test_rows_are_the_highest_predictions_below_the_percentile(
    percentile: float, expected: list[list[float]]
) -> None:
    found = estimate_transition(torch.tensor(PREDICTIONS), percentile)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("percentile", [97.0, 50.0, 12.5])
def test_percentile_matches_numpys_method_higher(classes: int, percentile: float) -> None:
    predictions = softmax(random_logits(333, classes, 3.0)).astype(np.float32)
    expected = []
    for column in range(classes):
        p = predictions[:, column]
        lowest_outlier = np.percentile(p, percentile, method="higher")
        expected.append(predictions[np.where(p >= lowest_outlier, 0, p).argmax()])
    found = estimate_transition(torch.from_numpy(predictions), percentile)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(found.sum(1).numpy(), 1, rtol=1e-6)


def test_no_sample_is_ignored_at_percentile_100() -> None:
    predictions = softmax(random_logits(333, 10, 3.0)).astype(np.float32)
    found = estimate_transition(torch.from_numpy(predictions), 100)
    np.testing.assert_allclose(found.numpy(), predictions[predictions.argmax(0)], rtol=1e-6)


def test_rows_are_normalised_if_predictions_are_not() -> None:
    found = estimate_transition(torch.tensor([[0.8, 0.4], [0.1, 0.5]]), 100)
    np.testing.assert_allclose(found.numpy(), [[2 / 3, 1 / 3], [1 / 6, 5 / 6]], rtol=1e-6)


def test_published_percentiles() -> None:
    for dataset, percentile in (("cifar10", 97.0), ("cifar100", 100.0)):
        setting = first_match(method_of("forward").settings, dataset, "asymmetric-0.4")
        assert setting is not None
        assert setting.values["percentile"] == percentile


@pytest.mark.parametrize(
    ("dataset", "epochs", "milestones", "keras_decay"),
    [("cifar10", 120, (40, 80), 1e-4), ("cifar100", 150, (80, 120), 1e-3)],
)
def test_published_recipe(
    dataset: str, epochs: int, milestones: tuple[int, int], keras_decay: float
) -> None:
    for name in ("forward", "forward-true"):
        published = first_match(method_of(name).published_recipes, dataset, "asymmetric-0.4")
        assert published is not None
        recipe = published.recipe
        assert (recipe.epochs, recipe.learning_rate, recipe.batch_size) == (epochs, 0.1, 128)
        # The public code changes the rate if `epoch > milestone`, with epochs counted from 0.
        assert recipe.schedule == MultiStep(tuple(milestone + 1 for milestone in milestones))
        # Its penalty decay · Σ w² has the gradient 2 · decay · w.
        assert recipe.weight_decay == pytest.approx(2 * keras_decay)
        assert ("estimates T" in published.source) == (name == "forward")
