"""The realisation of a scenario: the samples of a run, their noisy labels and their split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trainables.errors import DataError
from trainables.extensions import is_extension, place_in_code, without_hash
from trainables.noise import NoiseContext, noise_of
from trainables.noise.base import check_labels
from trainables.noise.clean import CleanLabels
from trainables.run.seeds import Seeds, permutation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset


def held_out_count(fraction: float, samples: int) -> int:
    """Return the number of samples that a held-out fraction amounts to."""
    return round(fraction * samples)


def labels_digest(labels: NDArray[np.int64]) -> str:
    """Return the SHA-256 of a label vector as little-endian int64 bytes."""
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Realisation:
    """One draw of a scenario over a dataset's training samples.

    Attributes:
        index: positions of the samples in the dataset's training split, shape (n,).
        true: labels that come with the dataset, shape (n,).
        noisy: labels that a method is trained on, shape (n,).
        classes: number of classes K.
        truth_known: whether `true` holds the true labels, so that wrong noisy labels are known.
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
        """Fraction of the noisy labels that differ from those of the dataset."""
        return float(np.mean(self.noisy != self.true))

    @property
    def transition(self) -> list[list[float]]:
        """Observed probabilities of noisy class j given class i, K × K; 0 for an absent class."""
        counts = np.zeros((self.classes, self.classes))
        np.add.at(counts, (self.true, self.noisy), 1)
        totals = counts.sum(axis=1, keepdims=True)
        rows = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
        return [[float(value) for value in row] for row in rows]

    def hold_out(self, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Split the samples at random into training samples and held-out samples.

        Args:
            fraction: fraction of the samples to hold out.
            seed: base seed of the `split` axis.

        Returns:
            Positions of the training samples and of the held-out samples in this realisation, both
            ascending.
        """
        order = permutation(len(self.noisy), "split", seed)
        count = held_out_count(fraction, len(self.noisy))
        return np.sort(order[count:]), np.sort(order[:count])


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
        dataset: dataset whose training split is used.
        scenario: name of the label noise.
        seeds: base seed of each axis.
        subset: number of samples in the subset; None for all.
        balanced: whether the subset has the same number of samples of every class, according to
            the labels that come with the dataset.
        annotations: labels of the whole training split that the scenario may read, by name; None
            for the dataset's own.
        posterior: class probabilities of the samples of the subset, for noise that needs them.

    Raises:
        FieldError: if the scenario is unknown.
        DataError: if the data do not allow the scenario or the subset.
    """
    index = subset_positions(dataset, seeds, subset, balanced=balanced)
    classes = len(dataset.classes)
    context = NoiseContext(
        dataset.train.labels,
        index,
        classes,
        dataset.name,
        dataset.annotations if annotations is None else annotations,
        posterior,
    )
    noisy = _draw_labels(scenario, context, seeds.noise)
    return Realisation(index, context.true_labels, noisy, classes, _truth_known(dataset, scenario))


def _draw_labels(scenario: str, context: NoiseContext, seed: int) -> NDArray[np.int64]:
    """Return the noisy labels of a scenario; those of outside noise are checked.

    Raises:
        DataError: if the data do not allow the scenario, or outside noise fails.
    """
    noise = noise_of(scenario)
    if not is_extension(scenario):
        return noise.apply(context, seed)
    try:
        labels = np.asarray(noise.apply(context, seed))
    except Exception as error:
        place = place_in_code(error) or scenario
        raise DataError(f"{place}: {type(error).__name__}: {error}") from error
    title, count = without_hash(scenario), len(context.index)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{title} must return {count} integers, one for each used sample, but returned "
            f"{labels.dtype} of shape {labels.shape}"
        )
    check_labels(f"labels of {title}", labels, context.classes)
    return labels.astype(np.int64)


def realisation_of(
    dataset: Dataset,
    scenario: str,
    noisy: NDArray[np.int64],
    seeds: Seeds,
    subset: int | None = None,
    *,
    balanced: bool = False,
) -> Realisation:
    """Return the realisation of a scenario with noisy labels that were drawn before.

    Raises:
        DataError: if the labels are not as many as the subset has samples, or not valid classes.
    """
    index = subset_positions(dataset, seeds, subset, balanced=balanced)
    classes = len(dataset.classes)
    if len(noisy) != len(index):
        raise DataError(f"{len(noisy)} noisy labels are stored for {len(index)} samples")
    check_labels("noisy labels", noisy, classes)
    true = dataset.train.labels[index]
    return Realisation(index, true, noisy, classes, _truth_known(dataset, scenario))


def _truth_known(dataset: Dataset, scenario: str) -> bool:
    adds_noise = not isinstance(noise_of(scenario), CleanLabels)
    return dataset.true_labels and (adds_noise or not dataset.own)


def subset_positions(
    dataset: Dataset, seeds: Seeds, subset: int | None, *, balanced: bool = False
) -> NDArray[np.int64]:
    """Return the positions of the subset's samples in the training split, ascending.

    Args:
        dataset: dataset whose training split is used.
        seeds: base seed of each axis.
        subset: number of samples in the subset; None for all.
        balanced: whether the subset has the same number of samples of every class, or one more of
            the first classes if `subset` is not a multiple of the number of classes.

    Raises:
        DataError: if a class has too few samples for a balanced subset.
    """
    labels = dataset.train.labels
    if subset is None:
        return np.arange(len(labels))
    order = permutation(len(labels), "subset", seeds.subset)
    if not balanced:
        return np.sort(order[:subset])
    classes = len(dataset.classes)
    selection = []
    for label in range(classes):
        share = subset // classes + (label < subset % classes)
        members = order[labels[order] == label][:share]
        if len(members) < share:
            raise DataError(
                f"a balanced subset of {subset} takes {share} samples of class "
                f"'{dataset.classes[label]}', which has {len(members)}: make it smaller"
            )
        selection.append(members)
    return np.sort(np.concatenate(selection))
