"""The splits of a run: its training samples and the samples that are evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from trainables.datasets.pictures import Pictures
from trainables.errors import DataError
from trainables.run.metrics import (
    CLEAN_VAL_ACCURACY,
    TEST_ACCURACY,
    VAL_ACCURACY,
    extra_test_metrics,
    top_k_metric,
)
from trainables.run_data.loaders import ArrayLoader, Loader, Normalise, channel_statistics
from trainables.run_data.realisation import (
    Realisation,
    evaluated_test_positions,
    labels_digest,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset, Split
    from trainables.run.spec import RunSpec


class RunSplits:
    """Loaders of the training samples and of the evaluated splits of a run.

    Attributes:
        train: loader of the training samples, with their noisy labels.
        true_labels: labels of the training samples in the dataset, int64, shape (n,).
        evaluation_loaders: loaders of the evaluated splits, by the metric name of the top-1
            accuracy.
        extra_metrics: additional top-k accuracies of test splits, by the metric name of the top-1
            accuracy; each entry maps metric names to k.
        mean: mean of each channel of the images, for pixels scaled to [0, 1]: that of the recipe,
            or else measured on the training samples.
        std: standard deviation of each channel, from the same source as `mean`.
        normalise: function that converts uint8 images to inputs of the network.
        input_shape: shape (C, H, W) of the network's input images.
        short_side: see `Pictures.short_side`; None also for images in arrays.
    """

    def __init__(
        self, spec: RunSpec, dataset: Dataset, labels: Realisation, device: torch.device
    ) -> None:
        """Create the loaders of all splits of the run.

        Args:
            spec: specification of the run.
            dataset: dataset of the run.
            labels: noisy labels of the run.
            device: device of the batches.

        Raises:
            DataError: if a picture cannot be decoded and `spec.unreadable` is "fail", or the
                dataset lacks a split that is to be evaluated.
        """
        self._spec, self._dataset, self._device = spec, dataset, device
        self.input_shape = spec.recipe.input_shape(dataset.image_shape)
        images = dataset.train.images
        self.short_side = images.short_side if isinstance(images, Pictures) else None
        train_rows, held_out_rows = labels.hold_out(spec.hold_out, spec.seeds.split)
        self._excluded_positions: list[int] = []
        train_rows = self._readable_rows(train_rows, labels)
        held_out_rows = self._readable_rows(held_out_rows, labels)
        self.train = self._loader(
            dataset.train, labels.index[train_rows], labels.noisy_labels[train_rows]
        )
        self.true_labels = torch.from_numpy(labels.true_labels[train_rows]).to(device)
        self.evaluation_loaders: dict[str, Loader] = {}
        self.extra_metrics: dict[str, dict[str, int]] = {}
        if "val" in spec.evaluate:
            self.evaluation_loaders[VAL_ACCURACY] = self._loader(
                dataset.train, labels.index[held_out_rows], labels.noisy_labels[held_out_rows]
            )
        if "clean_val" in spec.evaluate:
            self.evaluation_loaders[CLEAN_VAL_ACCURACY] = self._clean_validation_loader(
                labels, held_out_rows
            )
        if "test" in spec.evaluate:
            for name, split in dataset.test_splits.items():
                metric = TEST_ACCURACY if name == dataset.test_name else top_k_metric(name, 1)
                positions = evaluated_test_positions(dataset, split, spec.test_subset)
                self.evaluation_loaders[metric] = self._split_loader(split, positions)
                self.extra_metrics[metric] = extra_test_metrics(dataset, name)
        self.mean, self.std = self._mean_and_std()
        self.normalise = Normalise(self.mean, self.std, device)

    @property
    def split_sha256(self) -> str:
        """SHA-256 of the positions of the training samples in the dataset's training split."""
        return labels_digest(self.train.index)

    @property
    def unreadable_count(self) -> int:
        """Number of training pictures left out so far because they could not be decoded."""
        return len({*self._excluded_positions, *self.train.unreadable_positions})

    def _readable_rows(self, rows: NDArray[np.int64], labels: Realisation) -> NDArray[np.int64]:
        """Return the rows of `labels` without samples whose pictures could not be decoded.

        Args:
            rows: positions of samples in `labels`, shape (n,).
            labels: noisy labels of the run.

        Raises:
            DataError: if a picture could not be decoded and `RunSpec.unreadable` is "fail".
        """
        unreadable = self._dataset.train.unreadable
        index = labels.index[rows]
        excluded = [int(position) for position in index if int(position) in unreadable]
        if not excluded:
            return rows
        if self._spec.unreadable == "fail":
            raise DataError(unreadable[excluded[0]])
        self._excluded_positions += excluded
        return rows[~np.isin(index, excluded)]

    def _clean_validation_loader(
        self, labels: Realisation, held_out_rows: NDArray[np.int64]
    ) -> Loader:
        """Return the loader of the dataset's validation split, or else of held-out true labels."""
        validation = self._dataset.validation
        if validation is not None:
            return self._split_loader(validation, np.arange(len(validation)))
        if not len(held_out_rows):
            raise DataError(
                f"'{self._dataset.name}' has no validation split, and the run holds out no samples "
                "that could replace one: set a hold-out fraction above 0"
            )
        return self._loader(
            self._dataset.train, labels.index[held_out_rows], labels.true_labels[held_out_rows]
        )

    def _split_loader(self, split: Split, positions: NDArray[np.int64]) -> Loader:
        """Return the loader of the readable samples among some positions of a split."""
        index = np.setdiff1d(positions, list(split.unreadable))
        if split.unreadable and self._spec.unreadable == "fail":
            raise DataError(next(iter(split.unreadable.values())))
        return self._loader(split, index, split.labels[index])

    def _loader(self, split: Split, index: NDArray[np.int64], labels: NDArray[np.int64]) -> Loader:
        spec = self._spec
        if not isinstance(split.images, Pictures):
            return ArrayLoader(split.images, index, labels, self._device)
        from trainables.run_data.picture_loader import PictureLoader

        return PictureLoader(
            split.images,
            index,
            labels,
            self._device,
            self.input_shape[1],
            threads=spec.threads,
            unreadable_policy=spec.unreadable,
        )

    def _mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        mean, std = self._spec.recipe.mean, self._spec.recipe.std
        if mean is not None and std is not None:
            return mean, std
        images = self._dataset.train.images
        if isinstance(images, Pictures):
            raise DataError(
                "the images of the dataset are files of any size: the recipe must set mean and std"
            )
        return channel_statistics(images, self.train.index)
