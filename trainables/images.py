"""Small images as uint8 tensors on the run's device, augmented and normalised in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from trainables.seeds import raw, uniform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trainables.seeds import Seeds
    from trainables.spec import Recipe

PADDING = 4
"""Pixels added on each side before a crop of the original size."""


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
        return images.to(torch.float32) * self.scale + self.shift


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


class ImagePart:
    """Some images of a split, and the labels that go with them.

    On the CPU the images stay where they are (they may be mapped from a file that all runs
    share); on another device the part is moved there once.
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

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images, labels) in order, as they are."""
        for positions in torch.split(torch.arange(len(self), device=self.device), size):
            yield self.images(positions), self.labels[positions]


class EpochDraws:
    """Order, crops and flips of one epoch, all drawn on the CPU and keyed by sample.

    A sample's draws depend on its position in the whole training split, so that they are the same
    whichever samples are held out or left out.
    """

    def __init__(self, part: ImagePart, recipe: Recipe, seeds: Seeds, epoch: int) -> None:
        reach = int(part.index.max()) + 1
        keys = raw(reach, "order", seeds.order, epoch)[part.index]
        self._part = part
        self._size = recipe.batch_size
        self._augments = bool(recipe.augmentation)
        self._order = torch.from_numpy(np.argsort(keys, kind="stable")).to(part.device)
        if not self._augments:
            return
        shifts = np.full((2, len(part)), PADDING)
        if "crop" in recipe.augmentation:
            draws = [uniform(reach, "augment", seeds.augment, epoch, d) for d in ("top", "left")]
            shifts = np.floor(np.stack(draws)[:, part.index] * (2 * PADDING + 1)).astype(np.int64)
        flips = np.zeros(len(part), dtype=bool)
        if "flip" in recipe.augmentation:
            flips = uniform(reach, "augment", seeds.augment, epoch, "flip")[part.index] < 0.5
        self._top, self._left = torch.from_numpy(shifts).to(part.device)
        self._flip = torch.from_numpy(flips).to(part.device)

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (uint8 images, positions in the part), each sample once."""
        for positions in torch.split(self._order, self._size):
            images = self._part.images(positions)
            if self._augments:
                images = crop_and_flip(
                    images, self._top[positions], self._left[positions], self._flip[positions]
                )
            yield images, positions
