"""Batches of the samples that a run trains on or evaluates: order, augmentation, normalisation.

`ArrayLoader` serves small images from memory; for pictures in files see `picture_loader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.nn import functional

from trainables.run.seeds import Seeds, raw, uniform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trainables.run.recipe import Recipe

PADDING = 4
"""Number of pixels added on each side before a crop of the original size."""


class EpochDraws:
    """Random order, crops and flips of the samples of a loader in one epoch.

    A sample's draws depend on its position in the whole training split, so that they do not change
    with the other samples of the loader.

    Attributes:
        order: permutation of the positions in the loader, shape (n,).
        crop: vertical and horizontal positions of the crops, relative to the range of possible
            ones, uniform in [0, 1), each of shape (n,); None without crops.
        flip: whether each sample is mirrored, shape (n,); None without flips.
    """

    def __init__(self, index: NDArray[np.int64], recipe: Recipe, seeds: Seeds, epoch: int) -> None:
        """Draw order and augmentation.

        Args:
            index: positions of the loader's samples in the whole split, shape (n,).
            recipe: recipe of the run, which names the augmentations.
            seeds: base seeds of the random axes, of which `order` and `augment` are used.
            epoch: number of the epoch, counted from 1.
        """
        count = int(index.max()) + 1

        def draw(key: str) -> NDArray[np.float64]:
            return uniform(count, "augment", seeds.augment, epoch, key)[index]

        keys = raw(count, "order", seeds.order, epoch)[index]
        self.order = np.argsort(keys, kind="stable")
        self.crop = (draw("top"), draw("left")) if "crop" in recipe.augmentation else None
        self.flip = draw("flip") < 0.5 if "flip" in recipe.augmentation else None


def batches_of(order: NDArray[np.int64], size: int, *, drop_last: bool) -> list[NDArray[np.int64]]:
    """Return an order of samples in batches; a smaller last one is dropped if `drop_last`."""
    stop = len(order) - len(order) % size if drop_last else len(order)
    return [order[start : start + size] for start in range(0, stop, size)]


class Loader(Protocol):
    """Samples of a split with their labels, which are loaded in batches.

    Attributes:
        index: positions of the samples in the split, shape (n,).
        labels: labels of the samples, int64, shape (n,), on the run's device.
    """

    index: NDArray[np.int64]
    labels: torch.Tensor

    def __len__(self) -> int:
        """Number of samples n."""

    @property
    def unreadable(self) -> list[int]:
        """Positions in the split of pictures that could not be decoded so far, ascending."""

    def epoch(
        self, draws: EpochDraws, size: int, *, drop_last: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield augmented batches of an epoch.

        Args:
            draws: random order and augmentation of the epoch.
            size: number of samples per batch.
            drop_last: whether a smaller last batch is dropped.

        Yields:
            Images, uint8, shape (b, C, H, W), and their positions in the loader, shape (b,).
        """

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield all samples in order, without augmentation.

        Args:
            size: number of samples per batch.

        Yields:
            Images, uint8, shape (b, C, H, W), and their positions in the loader, shape (b,).
        """


class ArrayLoader:
    """Loader of small images in one array.

    On the CPU the array is not copied, since it may be a memory map that all runs share. On another
    device the images are copied there once and augmented there.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        index: NDArray[np.int64],
        labels: NDArray[np.int64],
        device: torch.device,
    ) -> None:
        """Select samples of a split.

        Args:
            images: images of the whole split, shape (N, C, H, W).
            index: positions of the samples in the split, shape (n,).
            labels: labels of the samples, shape (n,).
            device: device of the batches.
        """
        self.index = index
        self.device = device
        self.labels = torch.from_numpy(labels).to(device)
        self.unreadable: list[int] = []
        self._pixels = torch.from_numpy(images)
        self._rows = torch.from_numpy(index)
        if device.type != "cpu":
            self._pixels = self._pixels[self._rows].to(device)
            self._rows = torch.arange(len(index), device=device)

    def __len__(self) -> int:
        return len(self.index)

    def images(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the images at positions in the loader, uint8, shape (b, C, H, W)."""
        return self._pixels[self._rows[positions]]

    def epoch(
        self, draws: EpochDraws, size: int, *, drop_last: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield augmented batches of an epoch, see `Loader.epoch`."""
        shifts = np.full((2, len(self)), PADDING)
        if draws.crop is not None:
            shifts = np.floor(np.stack(draws.crop) * (2 * PADDING + 1)).astype(np.int64)
        flips = np.zeros(len(self), dtype=bool) if draws.flip is None else draws.flip
        top, left = torch.from_numpy(shifts).to(self.device)
        flip = torch.from_numpy(flips).to(self.device)
        augments = draws.crop is not None or draws.flip is not None
        for batch in batches_of(draws.order, size, drop_last=drop_last):
            positions = torch.from_numpy(batch).to(self.device)
            images = self.images(positions)
            if augments:
                images = crop_and_flip(images, top[positions], left[positions], flip[positions])
            yield images, positions

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield all samples in order, see `Loader.batches`."""
        for positions in torch.split(torch.arange(len(self), device=self.device), size):
            yield self.images(positions), positions


def channel_statistics(
    images: NDArray[np.uint8], index: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, for pixels scaled to [0, 1].

    They are computed from a histogram of the 256 values, which avoids a float copy of the images.

    Args:
        images: images of the whole split, uint8, shape (N, C, H, W).
        index: positions of the images to use, shape (n,).

    Returns:
        C means and C population standard deviations; that of a constant channel is 1.
    """
    levels = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[index, channel].reshape(-1), minlength=256)
        mean = float((counts * levels).sum() / counts.sum())
        variance = float((counts * (levels - mean) ** 2).sum() / counts.sum())
        means.append(mean)
        # Rounding may give a constant channel a tiny variance, so that counts decide.
        deviations.append(variance**0.5 if np.count_nonzero(counts) > 1 else 1.0)
    return tuple(means), tuple(deviations)


class Normalise:
    """Transform of uint8 images to float32 that subtracts the mean and divides by the deviation."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
    ) -> None:
        self.scale = (1 / (255 * torch.tensor(std, device=device))).view(1, -1, 1, 1)
        self.shift = (-torch.tensor(mean, device=device) / torch.tensor(std, device=device)).view(
            1, -1, 1, 1
        )

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return normalised images of shape (b, C, H, W)."""
        # In place, since allocating memory for large batches costs more than the arithmetic.
        return images.to(torch.float32, copy=True).mul_(self.scale).add_(self.shift)


def crop_and_flip(
    images: torch.Tensor, top: torch.Tensor, left: torch.Tensor, flip: torch.Tensor
) -> torch.Tensor:
    """Return images padded with zeros, cropped to their size and mirrored, in one gather.

    Args:
        images: images, uint8, shape (b, C, H, W).
        top: first row of each crop, int64 in 0..2·PADDING, shape (b,).
        left: first column of each crop, int64 in 0..2·PADDING, shape (b,).
        flip: whether each image is mirrored horizontally, bool, shape (b,).
    """
    count, channels, height, width = images.shape
    device = images.device
    padded = functional.pad(images, (PADDING,) * 4)
    rows = top[:, None] + torch.arange(height, device=device)
    forward = torch.arange(width, device=device)
    columns = left[:, None] + torch.where(flip[:, None], width - 1 - forward, forward)
    return padded[
        torch.arange(count, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
