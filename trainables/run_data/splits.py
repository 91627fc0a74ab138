"""The splits of a run: the samples that it trains on and those that it evaluates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from trainables.datasets.pictures import Pictures
from trainables.errors import DataError
from trainables.run.metrics import CLEAN_VAL, TEST, VAL, test_metric, test_metrics
from trainables.run_data.loaders import ArrayLoader, Loader, Normalise, channel_statistics
from trainables.run_data.realisation import Realisation, labels_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset, Split
    from trainables.run.spec import RunSpec


class RunSplits:
    """Loaders of the samples that a spec trains on and evaluates.

    Attributes:
        train: loader of the training samples, with their noisy labels.
        true: labels of the training samples in the dataset, int64, shape (n,).
        evaluated: loaders of the evaluated splits, by the metric name of their top-1 accuracy.
        top: additional top-k accuracies of the evaluated splits as k by metric name, by the metric
            name of their top-1 accuracy.
        normalise: transform of uint8 images to the network's inputs.
        image: shape (C, H, W) of the network's inputs.
    """

    def __init__(
        self, spec: RunSpec, dataset: Dataset, labels: Realisation, device: torch.device
    ) -> None:
        """Create the loaders.

        Args:
            spec: specification of the run.
            dataset: dataset of the run.
            labels: noisy labels of the run.
            device: device of the batches.

        Raises:
            DataError: if a needed picture is unreadable and `spec.unreadable` is "fail", or a split
                to evaluate is missing.
        """
        self._spec, self._dataset, self._device = spec, dataset, device
        self.image = spec.recipe.input_shape(dataset.image)
        training, held_out = labels.hold_out(spec.hold_out, spec.seeds.split)
        self._excluded: list[int] = []
        training = self._readable(training, labels)
        held_out = self._readable(held_out, labels)
        self.train = self._loader(dataset.train, labels.index[training], labels.noisy[training])
        self.true = torch.from_numpy(labels.true[training]).to(device)
        self.evaluated: dict[str, Loader] = {}
        self.top: dict[str, dict[str, int]] = {}
        if "val" in spec.evaluate:
            index = labels.index[held_out]
            self.evaluated[VAL] = self._loader(dataset.train, index, labels.noisy[held_out])
        if "clean_val" in spec.evaluate:
            self.evaluated[CLEAN_VAL] = self._clean_validation(labels, held_out)
        if "test" in spec.evaluate:
            for name, split in dataset.tests.items():
                metric = TEST if name == dataset.test_name else test_metric(name, 1)
                self.evaluated[metric] = self._whole_split(split)
                self.top[metric] = test_metrics(dataset, name)
        self.normalise = Normalise(*self._statistics(), device)

    @property
    def split(self) -> str:
        """SHA-256 of the training samples' positions in the split, as little-endian int64."""
        return labels_digest(self.train.index)

    @property
    def unreadable(self) -> int:
        """Number of training pictures left out so far because they could not be decoded."""
        return len({*self._excluded, *self.train.unreadable})

    def _readable(self, positions: NDArray[np.int64], labels: Realisation) -> NDArray[np.int64]:
        """Return the positions of samples that could be decoded when the dataset was read."""
        unreadable = self._dataset.train.unreadable
        index = labels.index[positions]
        excluded = [int(position) for position in index if int(position) in unreadable]
        if not excluded:
            return positions
        if self._spec.unreadable == "fail":
            raise DataError(unreadable[excluded[0]])
        self._excluded += excluded
        return positions[~np.isin(index, excluded)]

    def _clean_validation(self, labels: Realisation, held_out: NDArray[np.int64]) -> Loader:
        validation = self._dataset.validation
        if validation is not None:
            return self._whole_split(validation)
        if not len(held_out):
            raise DataError(
                f"'{self._dataset.name}' has no validation split, and the run holds out no samples "
                "to replace it"
            )
        return self._loader(self._dataset.train, labels.index[held_out], labels.true[held_out])

    def _whole_split(self, split: Split) -> Loader:
        readable = np.setdiff1d(np.arange(len(split)), list(split.unreadable))
        if split.unreadable and self._spec.unreadable == "fail":
            raise DataError(next(iter(split.unreadable.values())))
        return self._loader(split, readable, split.labels[readable])

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
            self.image[1],
            threads=spec.threads,
            policy=spec.unreadable,
        )

    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        mean, std = self._spec.recipe.mean, self._spec.recipe.std
        if mean is not None and std is not None:
            return mean, std
        images = self._dataset.train.images
        if isinstance(images, Pictures):
            raise DataError("the pictures are files: mean and std must be given in the recipe")
        return channel_statistics(images, self.train.index)
