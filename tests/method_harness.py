"""Test harness that runs methods on given logits, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainables.methods import Batch, Context, Method, method_of
from trainables.run.parameters import complete_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CLASSES = (2, 10, 100)
SCALES = (1.0, 5.0)
"""Scales of random logits, for uncertain and for confident predictions."""


def make(
    name: str,
    labels: np.ndarray,
    classes: int,
    values: Mapping[str, Any] | None = None,
    *,
    epochs: int = 10,
    inputs: Mapping[str, np.ndarray] | None = None,
    transition: np.ndarray | None = None,
) -> Method:
    """Return a method with hyperparameters that differ from the defaults in `values`."""
    method_class = method_of(name)
    return method_class(
        Context(
            complete_parameters(f"method {name}", method_class.parameters, values or {}),
            torch.from_numpy(np.asarray(labels, np.int64)),
            classes,
            epochs,
            seed=0,
            inputs={role: torch.from_numpy(value) for role, value in (inputs or {}).items()},
            transition=None if transition is None else torch.from_numpy(np.float32(transition)),
        )
    )


def step(
    method: Method, logits: np.ndarray, index: np.ndarray | None = None, epoch: int = 1
) -> tuple[float, np.ndarray]:
    """Return the loss of a batch and its gradient with respect to the logits."""
    index = np.arange(len(logits)) if index is None else index
    z = torch.from_numpy(np.float32(logits)).requires_grad_()
    loss = method.loss(Batch(z, torch.zeros(len(z)), torch.from_numpy(index), epoch))
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    (gradient,) = torch.autograd.grad(loss, z)
    return loss.item(), gradient.double().numpy()


def random_logits(count: int, classes: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """Return random logits as float64, exactly representable in float32."""
    z = scale * np.random.default_rng(seed).standard_normal((count, classes))
    return z.astype(np.float32).astype(np.float64)


def ranked_labels(z: np.ndarray) -> np.ndarray:
    """Return labels of all ranks: the label of row i is the class with the i-th highest logit."""
    rows = np.arange(len(z))
    labels: np.ndarray = np.argsort(-z, axis=1)[rows, rows % z.shape[1]]
    return labels


def extreme_logits(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of ±200 with labels: right, wrong, tied and all low."""
    z = np.full((4, classes), -200.0)
    z[0, 0] = z[1, 1] = z[2, :2] = 200.0
    return z, np.zeros(4, np.int64)


def epoch_logits(epoch: int, count: int, classes: int) -> np.ndarray:
    """Return logits of all samples in an epoch, which oscillate over the epochs."""
    sample, output = np.ogrid[:count, :classes]
    z = 2.5 * np.cos(0.9 * epoch + 1.7 * sample + 2.3 * output * (1 + 0.1 * sample))
    return z.astype(np.float32).astype(np.float64)


def epoch_batches(epoch: int, count: int, size: int) -> Iterator[np.ndarray]:
    """Yield the positions of each batch of an epoch: a rotation of the samples."""
    positions = np.roll(np.arange(count), 3 * epoch)
    for start in range(0, count, size):
        yield positions[start : start + size]


def train_epoch(
    method: Method, epoch: int, count: int, outputs: int, size: int = 5
) -> list[tuple[float, np.ndarray]]:
    """Run a method for one epoch and end it; return each step's loss and gradient."""
    z = epoch_logits(epoch, count, outputs)
    steps = [step(method, z[index], index, epoch) for index in epoch_batches(epoch, count, size)]
    method.end_epoch(epoch, lambda: torch.from_numpy(np.float32(softmax(z))))
    return steps


def predict_forbidden() -> torch.Tensor:
    """Replace a `PredictFunction` for methods that must not predict the training samples."""
    raise AssertionError("the method predicted the training samples")


def targets_of(method: Method) -> torch.Tensor:
    """Return the targets of a method that estimates them."""
    targets = method.estimated_targets()
    assert targets is not None
    return targets


def log_softmax(z: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax, finite wherever the logits are."""
    z = z - z.max(axis=1, keepdims=True)
    values: np.ndarray = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return values


def softmax(z: np.ndarray) -> np.ndarray:
    """Return the softmax of each row."""
    probabilities: np.ndarray = np.exp(log_softmax(z))
    return probabilities


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return one-hot rows of labels."""
    rows: np.ndarray = np.eye(classes)[labels]
    return rows


def finite_differences(loss: Callable[[np.ndarray], float], z: np.ndarray) -> np.ndarray:
    """Return the gradient of a loss by central differences."""
    gradient = np.zeros_like(z)
    width = 1e-5
    for entry in np.ndindex(z.shape):
        shift = np.zeros_like(z)
        shift[entry] = width
        gradient[entry] = (loss(z + shift) - loss(z - shift)) / (2 * width)
    return gradient


def assert_loss(
    method: Method,
    reference: Callable[[np.ndarray], float],
    z: np.ndarray,
    epoch: int = 1,
) -> None:
    """Compare the loss and gradient of a batch with a float64 reference.

    The reference gradient is computed by central differences. The tolerance of gradients is that
    of float32 for values up to 1.
    """
    loss, gradient = step(method, z, epoch=epoch)
    np.testing.assert_allclose(loss, reference(z), rtol=1e-5, atol=1e-6)
    expected = finite_differences(reference, z)
    assert np.abs(expected).max() > 1e-3, "a zero gradient would test nothing"
    np.testing.assert_allclose(gradient, expected, rtol=2e-5, atol=2e-6)


def assert_finite(method: Method, z: np.ndarray, epoch: int = 1) -> float:
    """Assert that the loss and gradient of a batch are finite; return the loss."""
    loss, gradient = step(method, z, epoch=epoch)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    return loss
