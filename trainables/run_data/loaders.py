"""The samples of a split that a run trains on or evaluates: drawn, augmented, normalised.

Small images are in memory, as an `ArrayLoader`; for those that stay files see `picture_parts`.
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
"""Pixels added on each side before a crop of the original size."""


class EpochDraws:
    """Order, crops and flips of one epoch.

    A sample's draws depend on its position in the whole training split, so that they are the same
    whichever samples are held out or left out.

    Attributes:
        order: positions in the part, each once, shape (n,).
        crop: where in the range of possible crops each sample's is, from the top and from the left,
            uniform in [0, 1), each of shape (n,); None without crops.
        flip: which samples are mirrored, shape (n,); None without flips.
    """

    def __init__(self, index: NDArray[np.int64], recipe: Recipe, seeds: Seeds, epoch: int) -> None:
        """Draw.

        Args:
            index: positions of the part's samples in the whole split, shape (n,).
            recipe: says how samples are augmented.
            seeds: base seeds of the axes `order` and `augment`.
            epoch: counted from 1.
        """
        reach = int(index.max()) + 1

        def draw(what: str) -> NDArray[np.float64]:
            return uniform(reach, "augment", seeds.augment, epoch, what)[index]

        keys = raw(reach, "order", seeds.order, epoch)[index]
        self.order = np.argsort(keys, kind="stable")
        self.crop = (draw("top"), draw("left")) if "crop" in recipe.augmentation else None
        self.flip = draw("flip") < 0.5 if "flip" in recipe.augmentation else None


def batches_of(order: NDArray[np.int64], size: int, *, drop_last: bool) -> list[NDArray[np.int64]]:
    """Cut an order into batches; the last one may be smaller, or be left out."""
    most = len(order) - len(order) % size if drop_last else len(order)
    return [order[start : start + size] for start in range(0, most, size)]


class Loader(Protocol):
    """Some samples of a split, with the labels that go with them.

    Attributes:
        index: positions of the samples in the split, shape (n,).
        labels: on the run's device, int64, shape (n,).
    """

    index: NDArray[np.int64]
    labels: torch.Tensor

    def __len__(self) -> int:
        """Number of samples n."""

    @property
    def unreadable(self) -> list[int]:
        """Positions in the split of samples whose pictures turned out to be unreadable."""

    def epoch(
        self, draws: EpochDraws, size: int, *, drop_last: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (uint8 images (b, C, H, W), positions in the part (b,)), augmented, as drawn."""

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (uint8 images (b, C, H, W), positions in the part (b,)) in order, as they are."""


class ArrayLoader:
    """Small images.

    On the CPU they stay where they are (they may be mapped from a file that all runs share); on
    another device the part is moved there once, and augmented there.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        index: NDArray[np.int64],
        labels: NDArray[np.int64],
        device: torch.device,
    ) -> None:
        """Take a part.

        Args:
            images: of the whole split, shape (N, C, H, W).
            index: positions of the part in the split, shape (n,).
            labels: of the part, shape (n,).
            device: where batches are wanted.
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
        """Return the images at positions of the part, uint8, shape (b, C, H, W)."""
        return self._pixels[self._rows[positions]]

    def epoch(
        self, draws: EpochDraws, size: int, *, drop_last: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (uint8 images, positions in the part), augmented, in the drawn order."""
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
        """Yield (images, positions) in order, as they are."""
        for positions in torch.split(torch.arange(len(self), device=self.device), size):
            yield self.images(positions), positions


def channel_statistics(
    images: NDArray[np.uint8], index: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure mean and standard deviation per channel, in units of pixels scaled to [0, 1].

    They are taken from counts of the 256 values, so that no float copy of the images is made.

    Args:
        images: shape (n, C, H, W).
        index: the images that count.

    Returns:
        Means and (population) deviations, C each; a constant channel has deviation 1.
    """
    levels = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[index, channel].reshape(-1), minlength=256)
        mean = float((counts * levels).sum() / counts.sum())
        variance = float((counts * (levels - mean) ** 2).sum() / counts.sum())
        means.append(mean)
        # The variance of a constant may be a rounding error instead of 0: ask the counts.
        deviations.append(variance**0.5 if np.count_nonzero(counts) > 1 else 1.0)
    return tuple(means), tuple(deviations)


class Normalise:
    """From uint8 images to float32 ones with the given mean and deviation per channel."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
    ) -> None:
        self.scale = (1 / (255 * torch.tensor(std, device=device))).view(1, -1, 1, 1)
        self.shift = (-torch.tensor(mean, device=device) / torch.tensor(std, device=device)).view(
            1, -1, 1, 1
        )

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise images of shape (b, C, H, W)."""
        # In place: fresh memory for large batches costs more than the sums.
        return images.to(torch.float32, copy=True).mul_(self.scale).add_(self.shift)


def crop_and_flip(
    images: torch.Tensor, top: torch.Tensor, left: torch.Tensor, flip: torch.Tensor
) -> torch.Tensor:
    """Pad with zeros, cut the original size at (top, left), mirror where `flip`; one gather.

    Args:
        images: uint8, shape (b, C, H, W).
        top: int64 in 0..2·PADDING, shape (b,).
        left: likewise.
        flip: bool, shape (b,).
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
