from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from method_harness import (
    CLASSES,
    SCALES,
    assert_finite,
    assert_loss,
    extreme_logits,
    log_softmax,
    make,
    one_hot,
    random_logits,
    ranked_labels,
    softmax,
    step,
)

Reference = Callable[[np.ndarray, np.ndarray, float], float]


def soft(z: np.ndarray, labels: np.ndarray, beta: float) -> float:
    target = beta * one_hot(labels, z.shape[1]) + (1 - beta) * softmax(z)
    return float(-(target * log_softmax(z)).sum(1).mean())


def hard(z: np.ndarray, labels: np.ndarray, beta: float) -> float:
    target = beta * one_hot(labels, z.shape[1]) + (1 - beta) * one_hot(z.argmax(1), z.shape[1])
    return float(-(target * log_softmax(z)).sum(1).mean())


FORMS = [("bootstrap", soft, 0.95), ("bootstrap-hard", hard, 0.8)]


@pytest.mark.parametrize(("name", "reference", "beta"), FORMS)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(
    name: str, reference: Reference, beta: float, classes: int, scale: float
) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    assert_loss(make(name, labels, classes), lambda z: reference(z, labels, beta), z)
    other = make(name, labels, classes, {"beta": 0.3})
    assert_loss(other, lambda z: reference(z, labels, 0.3), z)


@pytest.mark.parametrize(("name", "reference", "beta"), FORMS)
@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(name: str, reference: Reference, beta: float, classes: int) -> None:
    z, labels = extreme_logits(classes)
    loss = assert_finite(make(name, labels, classes), z)
    assert loss == pytest.approx(reference(z, labels, beta), rel=1e-6)


def test_soft_gradient_flows_through_the_target() -> None:
    # With the prediction in the target held still the gradient would be β (p - e) alone.
    z = np.array([[1.0, 0.0]])
    _, gradient = step(make("bootstrap", np.array([0]), 2), z)
    p = softmax(z)[0]
    entropy = -(p * np.log(p)).sum()
    own = -p * (np.log(p) + entropy)
    expected = 0.95 * (p - [1, 0]) + 0.05 * own
    np.testing.assert_allclose(gradient[0], expected, atol=1e-7)
    assert abs(own[0]) > 0.05
