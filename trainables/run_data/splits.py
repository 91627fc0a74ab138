"""What of a dataset one run sees: its training part, and the parts that it evaluates."""

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
    """The parts of a dataset as a spec asks for them.

    Attributes:
        train: what is trained on, with its noisy labels.
        true: labels of those samples as the dataset has them, int64, shape (n,).
        evaluated: by name of the metric its top-1 accuracy has.
        top: by the same names, further metrics and the k of their top-k accuracies.
        normalise: from uint8 images to what the network sees.
        image: shape (C, H, W) of that.
    """

    def __init__(
        self, spec: RunSpec, dataset: Dataset, labels: Realisation, device: torch.device
    ) -> None:
        """Take the parts.

        Raises:
            DataError: a picture of a part cannot be decoded and the spec says to fail, or what the
                spec asks for is not there.
        """
        self._spec, self._dataset, self._device = spec, dataset, device
        self.image = spec.recipe.input_shape(dataset.image)
        training, held_out = labels.hold_out(spec.hold_out, spec.seeds.split)
        self.left_out: list[int] = []
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
            self.evaluated[CLEAN_VAL] = self._clean(labels, held_out)
        if "test" in spec.evaluate:
            for name, split in dataset.tests.items():
                metric = TEST if name == dataset.test_name else test_metric(name, 1)
                self.evaluated[metric] = self._whole(split)
                self.top[metric] = test_metrics(dataset, name)
        self.normalise = Normalise(*self._statistics(), device)

    @property
    def split(self) -> str:
        """SHA-256 of the positions that are trained on, little-endian int64."""
        return labels_digest(self.train.index)

    @property
    def unreadable(self) -> int:
        """How many training pictures were left out so far, since they could not be decoded."""
        return len({*self.left_out, *self.train.unreadable})

    def _readable(self, positions: NDArray[np.int64], labels: Realisation) -> NDArray[np.int64]:
        """Leave out samples whose pictures could not be decoded when the dataset was read."""
        unreadable = self._dataset.train.unreadable
        found = [int(at) for at in labels.index[positions] if int(at) in unreadable]
        if not found:
            return positions
        if self._spec.unreadable == "fail":
            raise DataError(unreadable[found[0]])
        self.left_out += found
        return positions[~np.isin(labels.index[positions], found)]

    def _clean(self, labels: Realisation, held_out: NDArray[np.int64]) -> Loader:
        validation = self._dataset.validation
        if validation is not None:
            return self._whole(validation)
        if not len(held_out):
            raise DataError(
                f"'{self._dataset.name}' has no validation split, and the run holds nothing out "
                "to take the place of one"
            )
        return self._loader(self._dataset.train, labels.index[held_out], labels.true[held_out])

    def _whole(self, split: Split) -> Loader:
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
            raise DataError("the pictures are files: the recipe must say mean and std")
        return channel_statistics(images, self.train.index)
