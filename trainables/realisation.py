"""The labels that one run sees: which samples, which noisy labels, which of them held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trainables.noise import noise_of
from trainables.seeds import permutation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainables.seeds import Seeds


def labels_digest(labels: NDArray[np.int64]) -> str:
    """Return the SHA-256 of a label vector as little-endian int64 bytes."""
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Realisation:
    """One draw of a scenario over a dataset's training samples.

    Attributes:
        index: position of each sample in the dataset's training split, shape (n,).
        true: labels as the dataset has them, shape (n,).
        noisy: labels that a method sees, shape (n,).
        classes: number of classes K.
    """

    index: NDArray[np.int64]
    true: NDArray[np.int64]
    noisy: NDArray[np.int64]
    classes: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the noisy label vector."""
        return labels_digest(self.noisy)

    @property
    def flip_rate(self) -> float:
        """Fraction of labels that differ from the true ones."""
        return float(np.mean(self.noisy != self.true))

    @property
    def transition(self) -> list[list[float]]:
        """Observed P(noisy = j | true = i), a K × K list; a class without samples has zeros."""
        counts = np.zeros((self.classes, self.classes))
        np.add.at(counts, (self.true, self.noisy), 1)
        totals = counts.sum(axis=1, keepdims=True)
        rows = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
        return [[float(cell) for cell in row] for row in rows]

    def parts(self, hold_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Split the samples into a training part and round(hold_out × n) held-out ones.

        Args:
            hold_out: fraction held out.
            seed: base seed of the `split` axis.

        Returns:
            Positions in this realisation, both ascending: training part, held-out part.
        """
        order = permutation(len(self.noisy), "split", seed)
        held = round(hold_out * len(self.noisy))
        return np.sort(order[held:]), np.sort(order[:held])


def realise(
    labels: NDArray[np.int64], classes: int, scenario: str, subset: int | None, seeds: Seeds
) -> Realisation:
    """Draw the subset (axis `subset`) and its noisy labels (axis `noise`).

    Args:
        labels: true labels of the dataset's whole training split.
        classes: number of classes.
        scenario: name of the label noise.
        subset: how many samples to keep; None for all.
        seeds: base seed of each axis.

    Raises:
        FieldError: an unknown scenario.
    """
    index = np.arange(len(labels))
    if subset is not None:
        index = np.sort(permutation(len(labels), "subset", seeds.subset)[:subset])
    true = labels[index]
    noisy = noise_of(scenario).apply(true, index, classes, seeds.noise)
    return Realisation(index=index, true=true, noisy=noisy, classes=classes)
