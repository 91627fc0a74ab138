from __future__ import annotations

import math

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
)

from trainables.methods import method_of
from trainables.methods.published import first_match
from trainables.run.schedules import MultiStep


def sce_loss(z: np.ndarray, labels: np.ndarray, a: float, b: float) -> float:
    """Return the loss with all clamps of the formula and an explicit sum over the classes."""
    one_hot_labels = one_hot(labels, z.shape[1])
    forward = -(one_hot_labels * log_softmax(z)).sum(1)
    p = np.clip(softmax(z), 1e-7, 1)
    reverse = -(p * np.log(np.clip(one_hot_labels, 1e-4, 1))).sum(1)
    return float((a * forward + b * reverse).mean())


@pytest.mark.parametrize(("a", "b"), [(0.1, 1.0), (6.0, 0.1), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(a: float, b: float, classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    method = make("sce", labels, classes, {"a": a, "b": b})
    assert_loss(method, lambda z: sce_loss(z, labels, a, b), z)


@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int) -> None:
    z, labels = extreme_logits(classes)
    loss = assert_finite(make("sce", labels, classes), z)
    assert loss == pytest.approx(sce_loss(z, labels, 0.1, 1.0), rel=1e-6)


def test_reverse_term_is_9_21_times_the_probability_of_other_classes() -> None:
    z = random_logits(5, 10)
    labels = np.arange(5)
    method = make("sce", labels, 10, {"a": 0.0, "b": 1.0})
    p_other_classes = 1 - softmax(z)[np.arange(5), labels].mean()
    assert -math.log(1e-4) == pytest.approx(9.21, abs=1e-3)
    assert_loss(method, lambda z: sce_loss(z, labels, 0, 1), z)
    assert sce_loss(z, labels, 0, 1) == pytest.approx(-math.log(1e-4) * p_other_classes, rel=1e-6)


@pytest.mark.parametrize(("dataset", "a", "b"), [("cifar10", 0.1, 1.0), ("cifar100", 6.0, 0.1)])
def test_published_weights(dataset: str, a: float, b: float) -> None:
    setting = first_match(method_of("sce").settings, dataset, "symmetric-0.4")
    assert setting is not None
    assert dict(setting.values) == {"a": a, "b": b}


@pytest.mark.parametrize(
    ("dataset", "epochs", "milestones"), [("cifar10", 120, (40, 80)), ("cifar100", 150, (80, 120))]
)
def test_published_recipe_is_that_of_the_port(
    dataset: str, epochs: int, milestones: tuple[int, int]
) -> None:
    published = first_match(method_of("sce").published_recipes, dataset, "symmetric-0.4")
    assert published is not None
    recipe = published.recipe
    assert (recipe.weight_decay, recipe.nesterov, recipe.max_gradient_norm) == (5e-3, True, 5.0)
    assert (recipe.epochs, recipe.learning_rate, recipe.batch_size) == (epochs, 0.01, 128)
    assert recipe.schedule == MultiStep(milestones)
    assert recipe.std == (0.24703233, 0.24348505, 0.26158768)
    assert "its cross entropy has labels of at least 1e-4 on all classes" in published.source
