"""The labels that one run sees: which samples, which noisy labels, which of them held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trainables.errors import DataError
from trainables.noise import NoiseContext, noise_of
from trainables.noise.base import check_labels
from trainables.noise.clean import Clean
from trainables.run.seeds import Seeds, permutation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset


def held_out_count(fraction: float, samples: int) -> int:
    """Return how many of some samples are held out: the fraction of them, rounded."""
    return round(fraction * samples)


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
        truth_known: whether it is known which of the noisy labels are wrong.
    """

    index: NDArray[np.int64]
    true: NDArray[np.int64]
    noisy: NDArray[np.int64]
    classes: int
    truth_known: bool = True

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the noisy label vector."""
        return labels_digest(self.noisy)

    @property
    def flip_rate(self) -> float:
        """Fraction of labels that differ from those of the dataset."""
        return float(np.mean(self.noisy != self.true))

    @property
    def transition(self) -> list[list[float]]:
        """Observed P(noisy = j | i in the dataset), K × K; a class without samples has zeros."""
        counts = np.zeros((self.classes, self.classes))
        np.add.at(counts, (self.true, self.noisy), 1)
        totals = counts.sum(axis=1, keepdims=True)
        rows = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
        return [[float(cell) for cell in row] for row in rows]

    def hold_out(self, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Split the samples into a training part and `held_out_count` held-out ones.

        Args:
            fraction: of the samples that is held out.
            seed: base seed of the `split` axis.

        Returns:
            Positions in this realisation, both ascending: training part, held-out part.
        """
        order = permutation(len(self.noisy), "split", seed)
        held = held_out_count(fraction, len(self.noisy))
        return np.sort(order[held:]), np.sort(order[:held])


def realise(
    dataset: Dataset,
    scenario: str,
    seeds: Seeds,
    subset: int | None = None,
    *,
    balanced: bool = False,
    annotations: Mapping[str, NDArray[np.int64]] | None = None,
    posterior: NDArray[np.float64] | None = None,
) -> Realisation:
    """Draw the subset (axis `subset`) and its noisy labels (axis `noise`).

    Args:
        dataset: with its labels.
        scenario: name of the label noise.
        seeds: base seed of each axis.
        subset: how many samples to keep; None for all.
        balanced: whether each class, by the labels that come with the dataset, gives as many.
        annotations: labels of the whole training split that the scenario reads, by name; None: the
            dataset's own.
        posterior: class probabilities of the samples of the subset, for noise that needs them.

    Raises:
        FieldError: an unknown scenario.
        DataError: the data do not allow it.
    """
    index = subset_of(dataset, seeds, subset, balanced=balanced)
    classes = len(dataset.classes)
    context = NoiseContext(
        dataset.train.labels,
        index,
        classes,
        dataset.name,
        dataset.annotations if annotations is None else annotations,
        posterior,
    )
    noisy = noise_of(scenario).apply(context, seeds.noise)
    return Realisation(index, context.true, noisy, classes, _truth_known(dataset, scenario))


def realise_with(
    dataset: Dataset,
    scenario: str,
    noisy: NDArray[np.int64],
    seeds: Seeds,
    subset: int | None = None,
    *,
    balanced: bool = False,
) -> Realisation:
    """Take noisy labels that were drawn before, in the place of `realise`'s.

    Raises:
        DataError: they are not as many as the subset has samples, or of unknown classes.
    """
    index = subset_of(dataset, seeds, subset, balanced=balanced)
    classes = len(dataset.classes)
    if len(noisy) != len(index):
        raise DataError(f"{len(noisy)} noisy labels were kept for {len(index)} samples")
    check_labels("noisy labels", noisy, classes)
    true = dataset.train.labels[index]
    return Realisation(index, true, noisy, classes, _truth_known(dataset, scenario))


def _truth_known(dataset: Dataset, scenario: str) -> bool:
    adds_noise = not isinstance(noise_of(scenario), Clean)
    return dataset.true_labels and (adds_noise or not dataset.own)


def subset_of(
    dataset: Dataset, seeds: Seeds, subset: int | None, *, balanced: bool = False
) -> NDArray[np.int64]:
    """Return the positions of the samples that are used, ascending.

    Args:
        dataset: of which.
        seeds: base seed of each axis.
        subset: how many; None for all.
        balanced: as for `realise`; the first classes give one more where it cannot be exact.

    Raises:
        DataError: a class has too few samples for its share.
    """
    labels = dataset.train.labels
    if subset is None:
        return np.arange(len(labels))
    order = permutation(len(labels), "subset", seeds.subset)
    if not balanced:
        return np.sort(order[:subset])
    classes = len(dataset.classes)
    taken = []
    for label in range(classes):
        share = subset // classes + (label < subset % classes)
        members = order[labels[order] == label][:share]
        if len(members) < share:
            raise DataError(
                f"a balanced subset of {subset} takes {share} samples of class "
                f"'{dataset.classes[label]}', which has {len(members)}: make it smaller"
            )
        taken.append(members)
    return np.sort(np.concatenate(taken))
