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
    log_softmax,
    make,
    random_logits,
    ranked_labels,
)

from trainables.methods import Batch, Context
from trainables.methods.ce import CrossEntropy
from trainables.run.parameters import FrozenMap


def test_loss_is_cross_entropy_to_the_batch_labels() -> None:
    labels = torch.tensor([3, 1, 0, 2, 1])
    index = torch.tensor([4, 0, 3])
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, generator=random).requires_grad_()
    attention = torch.randn(3, generator=random).requires_grad_()
    method = CrossEntropy(Context(FrozenMap(), labels, 4, 10, seed=0))
    loss = method.loss(Batch(logits, attention, index, 1))
    (dz,) = torch.autograd.grad(loss, logits)

    p = logits.detach().double().softmax(1)
    q = torch.nn.functional.one_hot(torch.tensor([1, 3, 2]), 4)
    torch.testing.assert_close(loss.double(), -(q * p.log()).sum(1).mean(), rtol=1e-6, atol=0)
    torch.testing.assert_close(dz.double(), (p - q) / 3, rtol=0, atol=1e-7)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    method = make("ce", labels, classes)
    assert_loss(method, lambda z: float(-log_softmax(z)[np.arange(6), labels].mean()), z)


@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int) -> None:
    z, labels = extreme_logits(classes)
    loss = assert_finite(make("ce", labels, classes), z)
    # Sure and right 0, sure and wrong the distance of the logits, the others by their share.
    assert loss == pytest.approx((400 + np.log(2) + np.log(classes)) / 4, rel=1e-6)


def test_no_state_and_no_parameters() -> None:
    method = CrossEntropy(Context(FrozenMap(), torch.tensor([0]), 2, 1, seed=0))
    assert method.state_dict() == {}
    assert CrossEntropy.parameters == ()
    assert CrossEntropy.output_count(7) == 7
