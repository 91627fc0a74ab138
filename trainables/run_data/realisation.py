"""Realisations of label noise: the samples of a run with one draw of their noisy labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trainables.errors import DataError
from trainables.extensions import is_extension, location_in_extension, without_hash
from trainables.noise import NoiseContext, noise_of
from trainables.noise.base import check_labels
from trainables.noise.clean import CleanLabels
from trainables.run.seeds import Seeds, permutation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset, Split


def held_out_count(fraction: float, sample_count: int) -> int:
    """Return the number of held-out samples, given the fraction to hold out."""
    return round(fraction * sample_count)


def labels_digest(labels: NDArray[np.int64]) -> str:
    """Return the SHA-256 of a label vector, encoded as little-endian int64, in hexadecimal."""
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Realisation:
    """Samples of a run, with one draw of their noisy labels.

    Attributes:
        index: positions of the samples in the dataset's training split, shape (n,).
        true_labels: labels of the samples in the dataset, before noise is added, shape (n,).
        noisy_labels: noisy labels, on which the method is trained, shape (n,).
        class_count: number of classes K.
        true_labels_known: whether the labels in `true_labels` are known to be correct.
    """

    index: NDArray[np.int64]
    true_labels: NDArray[np.int64]
    noisy_labels: NDArray[np.int64]
    class_count: int
    true_labels_known: bool = True

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the noisy labels, as computed by `labels_digest`."""
        return labels_digest(self.noisy_labels)

    @property
    def flip_rate(self) -> float:
        """Fraction of the noisy labels that differ from the labels in the dataset."""
        return float(np.mean(self.noisy_labels != self.true_labels))

    @property
    def transition(self) -> list[list[float]]:
        """Observed transition matrix, K × K, as a list of rows.

        Entry (i, j) is the fraction of the samples of class i that have the noisy label j. The row
        of a class without samples is 0.
        """
        counts = np.zeros((self.class_count, self.class_count))
        np.add.at(counts, (self.true_labels, self.noisy_labels), 1)
        totals = counts.sum(axis=1, keepdims=True)
        rows = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
        return [[float(fraction) for fraction in row] for row in rows]

    def hold_out(self, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Divide the samples at random into training samples and held-out samples.

        Args:
            fraction: fraction of the samples to hold out.
            seed: base seed of the random axis `split`.

        Returns:
            Positions in this realisation of the training samples and of the held-out samples, both
            ascending.
        """
        order = permutation(len(self.noisy_labels), "split", seed)
        count = held_out_count(fraction, len(self.noisy_labels))
        return np.sort(order[count:]), np.sort(order[:count])


def draw_realisation(
    dataset: Dataset,
    scenario: str,
    seeds: Seeds,
    subset: int | None = None,
    *,
    balanced: bool = False,
    annotations: Mapping[str, NDArray[np.int64]] | None = None,
    posterior: NDArray[np.float64] | None = None,
) -> Realisation:
    """Draw a subset of a dataset's training samples, and noisy labels for these samples.

    The random axis `subset` chooses the samples, the axis `noise` their labels.

    Args:
        dataset: dataset whose training split is used.
        scenario: name of the label noise, such as "symmetric-0.4".
        seeds: base seed of each random axis.
        subset: number of samples in the subset; None for all.
        balanced: whether the subset has the same number of samples of every class, according to
            the labels in the dataset.
        annotations: labels of the whole training split that the scenario may read instead of
            drawing labels, by name; None for the annotations of the dataset.
        posterior: class probabilities of the samples of the subset, shape (n, K), for a scenario
            that draws labels from them; None for all other scenarios.

    Raises:
        FieldError: if the scenario is unknown.
        DataError: if the data do not allow the scenario or the subset.
    """
    index = subset_positions(dataset, seeds, subset, balanced=balanced)
    class_count = len(dataset.classes)
    context = NoiseContext(
        dataset.train.labels,
        index,
        class_count,
        dataset.name,
        dataset.annotations if annotations is None else annotations,
        posterior,
    )
    noisy_labels = _draw_labels(scenario, context, seeds.noise)
    return Realisation(
        index, context.true_labels, noisy_labels, class_count, _true_labels_known(dataset, scenario)
    )


def _draw_labels(scenario: str, context: NoiseContext, seed: int) -> NDArray[np.int64]:
    """Draw the noisy labels of a scenario, and check them if the noise is an extension.

    Raises:
        DataError: if the data do not allow the scenario, or the code of the extension fails.
    """
    noise = noise_of(scenario)
    if not is_extension(scenario):
        return noise.apply(context, seed)
    try:
        labels = np.asarray(noise.apply(context, seed))
    except Exception as error:
        location = location_in_extension(error) or scenario
        raise DataError(f"{location}: {type(error).__name__}: {error}") from error
    title, sample_count = without_hash(scenario), len(context.index)
    if labels.shape != (sample_count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{title} must return {sample_count} integers, one for each sample, but returned "
            f"{labels.dtype} of shape {labels.shape}"
        )
    check_labels(
        labels,
        context.class_count,
        lambda position: f"labels of {title}, sample {position} (counted from 0)",
    )
    return labels.astype(np.int64)


def realisation_of(
    dataset: Dataset,
    scenario: str,
    noisy_labels: NDArray[np.int64],
    seeds: Seeds,
    subset: int | None = None,
    *,
    balanced: bool = False,
) -> Realisation:
    """Return a realisation with noisy labels that have been drawn before.

    Args:
        dataset: dataset whose training split is used.
        scenario: name of the label noise.
        noisy_labels: noisy labels of the samples of the subset, shape (n,).
        seeds: base seed of each random axis; only `subset` is used.
        subset: number of samples in the subset; None for all.
        balanced: whether the subset has the same number of samples of every class.

    Raises:
        DataError: if the number of labels differs from that of the samples, or a label is not a
            class.
    """
    index = subset_positions(dataset, seeds, subset, balanced=balanced)
    class_count = len(dataset.classes)
    if len(noisy_labels) != len(index):
        raise DataError(
            f"{len(noisy_labels)} noisy labels are stored, but the run has {len(index)} samples"
        )
    check_labels(
        noisy_labels,
        class_count,
        lambda position: f"noisy labels, sample {position} (counted from 0)",
    )
    true_labels = dataset.train.labels[index]
    return Realisation(
        index, true_labels, noisy_labels, class_count, _true_labels_known(dataset, scenario)
    )


def _true_labels_known(dataset: Dataset, scenario: str) -> bool:
    """Return whether the labels in a dataset are known to be correct.

    The labels of a user's own dataset count as correct only if the scenario adds noise to them.
    """
    adds_noise = not isinstance(noise_of(scenario), CleanLabels)
    return dataset.has_true_labels and (adds_noise or not dataset.user_owned)


def subset_positions(
    dataset: Dataset, seeds: Seeds, subset: int | None, *, balanced: bool = False
) -> NDArray[np.int64]:
    """Return the positions in the training split of the samples of a subset, ascending.

    Args:
        dataset: dataset whose training split is used.
        seeds: base seed of each random axis; only `subset` is used.
        subset: number of samples in the subset; None for all.
        balanced: whether the subset has the same number of samples of every class. If `subset` is
            not a multiple of the number of classes, the first classes have one sample more.

    Raises:
        DataError: if a class has too few samples for a balanced subset.
    """
    labels = dataset.train.labels
    if subset is None:
        return np.arange(len(labels))
    order = permutation(len(labels), "subset", seeds.subset)
    if not balanced:
        return np.sort(order[:subset])
    return _balanced_positions(dataset, labels, order, subset)


def evaluated_test_positions(
    dataset: Dataset, split: Split, test_subset: int | None
) -> NDArray[np.int64]:
    """Return the positions in a test split of the samples that are evaluated, ascending.

    They depend on no seed, so that all runs are compared on the same samples.

    Args:
        dataset: dataset of the test split.
        split: test split.
        test_subset: number of evaluated samples, equally many of every class. If it is not a
            multiple of the number of classes, the first classes have one sample more. None, or a
            number above the size of the split, for all samples.

    Raises:
        DataError: if a class has too few samples.
    """
    if test_subset is None or test_subset >= len(split):
        return np.arange(len(split))
    order = permutation(len(split), "subset", 0, "test")
    return _balanced_positions(dataset, split.labels, order, test_subset)


def _balanced_positions(
    dataset: Dataset, labels: NDArray[np.int64], order: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Return the first positions in an order that make a class-balanced subset, ascending.

    Args:
        dataset: dataset with the names of the classes.
        labels: labels of all samples, shape (n,).
        order: permutation of the positions 0..n - 1.
        count: number of samples of the subset.

    Raises:
        DataError: if a class has too few samples.
    """
    class_count = len(dataset.classes)
    selection = []
    for label in range(class_count):
        requested_count = count // class_count + (label < count % class_count)
        positions = order[labels[order] == label][:requested_count]
        if len(positions) < requested_count:
            raise DataError(
                f"a balanced subset of {count} samples needs {requested_count} samples of class "
                f"'{dataset.classes[label]}', which has {len(positions)}: make the subset smaller"
            )
        selection.append(positions)
    return np.sort(np.concatenate(selection))
