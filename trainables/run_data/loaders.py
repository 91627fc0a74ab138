"""Loading of images and labels in batches: random order, augmentation and normalisation.

`ArrayLoader` loads small images from memory. The module `picture_loader` loads pictures in files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.nn import functional

from trainables.run.seeds import Seeds, random_integers, uniform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trainables.run.recipe import Recipe


class EpochDraws:
    """Random order, crops and flips of the samples of a loader in one epoch.

    The random numbers of a sample depend on its position in the whole training split, and not on
    the other samples of the loader.

    Attributes:
        order: permutation of the positions in the loader, shape (n,).
        crop: relative vertical and horizontal positions of the crops, each of shape (n,), uniform
            in [0, 1), where 0 stands for the top or left edge and 1 for the bottom or right edge;
            None if images are not cropped at random.
        flip: whether each image is mirrored horizontally, shape (n,); None without random
            flips.
        padding: number of pixels added on each side of a small image before it is cropped.
    """

    def __init__(self, index: NDArray[np.int64], recipe: Recipe, seeds: Seeds, epoch: int) -> None:
        """Draw the order and the augmentation of the samples.

        Args:
            index: positions of the loader's samples in the whole training split, shape (n,).
            recipe: recipe of the run, which defines the augmentations.
            seeds: base seeds of the random axes; only `order` and `augment` are used.
            epoch: number of the epoch, counted from 1.
        """
        draw_count = int(index.max()) + 1

        def draw(key: str) -> NDArray[np.float64]:
            return uniform(draw_count, "augment", seeds.augment, epoch, key)[index]

        sort_keys = random_integers(draw_count, "order", seeds.order, epoch)[index]
        self.order = np.argsort(sort_keys, kind="stable")
        self.crop = (draw("top"), draw("left")) if "crop" in recipe.augmentation else None
        self.flip = draw("flip") < 0.5 if "flip" in recipe.augmentation else None
        self.padding = recipe.crop_padding


def split_into_batches(
    positions: NDArray[np.int64], batch_size: int, *, drop_last: bool
) -> list[NDArray[np.int64]]:
    """Divide positions into consecutive batches; `drop_last` omits a smaller last batch."""
    count = len(positions)
    stop = count - count % batch_size if drop_last else count
    return [positions[start : start + batch_size] for start in range(0, stop, batch_size)]


class Loader(Protocol):
    """Interface of loaders, which yield images of a split in batches and hold their labels.

    Attributes:
        index: positions of the loader's samples in the split, shape (n,).
        labels: labels of the loader's samples, int64, shape (n,), on the run's device.
    """

    index: NDArray[np.int64]
    labels: torch.Tensor

    def __len__(self) -> int:
        """Return the number of samples of the loader."""

    @property
    def unreadable_positions(self) -> list[int]:
        """Positions in the split of pictures that could not be decoded so far, ascending."""

    def epoch_batches(
        self, draws: EpochDraws, batch_size: int, *, drop_last: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of an epoch in random order, with augmentation.

        Args:
            draws: random order, crops and flips of the epoch.
            batch_size: number of samples per batch.
            drop_last: whether a smaller last batch is omitted.

        Yields:
            Images, uint8, shape (b, C, H, W), and their positions in the loader, shape (b,).
        """

    def batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield all samples in batches, in the order of `index` and without augmentation.

        Args:
            batch_size: number of samples per batch.

        Yields:
            Images, uint8, shape (b, C, H, W), and their positions in the loader, shape (b,).
        """


class ArrayLoader:
    """Loader of small images that are stored in one array.

    On the CPU the array is not copied, since it may be memory-mapped and shared by all runs. If
    `device` is a GPU, the images are copied there once, and augmented there.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        index: NDArray[np.int64],
        labels: NDArray[np.int64],
        device: torch.device,
    ) -> None:
        """Create a loader for some samples of a split.

        Args:
            images: images of the whole split, shape (N, C, H, W).
            index: positions of the samples in the split, shape (n,).
            labels: labels of the samples, shape (n,).
            device: device of the batches.
        """
        self.index = index
        self.device = device
        self.labels = torch.from_numpy(labels).to(device)
        self.unreadable_positions: list[int] = []
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

    def epoch_batches(
        self, draws: EpochDraws, batch_size: int, *, drop_last: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of an epoch in random order, see `Loader.epoch_batches`."""
        offsets = np.full((2, len(self)), draws.padding)
        if draws.crop is not None:
            offsets = np.floor(np.stack(draws.crop) * (2 * draws.padding + 1)).astype(np.int64)
        flips = np.zeros(len(self), dtype=bool) if draws.flip is None else draws.flip
        top, left = torch.from_numpy(offsets).to(self.device)
        flip = torch.from_numpy(flips).to(self.device)
        has_augmentation = draws.crop is not None or draws.flip is not None
        for batch in split_into_batches(draws.order, batch_size, drop_last=drop_last):
            positions = torch.from_numpy(batch).to(self.device)
            images = self.images(positions)
            if has_augmentation:
                images = crop_and_flip(
                    images, top[positions], left[positions], flip[positions], draws.padding
                )
            yield images, positions

    def batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield all samples in batches in a fixed order, see `Loader.batches`."""
        for positions in torch.split(torch.arange(len(self), device=self.device), batch_size):
            yield self.images(positions), positions


def channel_statistics(
    images: NDArray[np.uint8], index: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel, for pixels scaled to [0, 1].

    Both are computed from a histogram of the 256 pixel values, which avoids a float copy of the
    images.

    Args:
        images: images of the whole split, uint8, shape (N, C, H, W).
        index: positions of the images to use, shape (n,).

    Returns:
        Means and population standard deviations of the C channels; the standard deviation of a
        constant channel is set to 1.
    """
    pixel_values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[index, channel].reshape(-1), minlength=256)
        mean = float((counts * pixel_values).sum() / counts.sum())
        variance = float((counts * (pixel_values - mean) ** 2).sum() / counts.sum())
        means.append(mean)
        # Decided by the counts, since rounding may give a constant channel a tiny variance.
        stds.append(variance**0.5 if np.count_nonzero(counts) > 1 else 1.0)
    return tuple(means), tuple(stds)


class Normalise:
    """Conversion of uint8 images to float32 images with normalised channels.

    Pixels are scaled to [0, 1]; then the mean of the channel is subtracted, and the difference is
    divided by the standard deviation of the channel.
    """

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
    ) -> None:
        self.scale = (1 / (255 * torch.tensor(std, device=device))).view(1, -1, 1, 1)
        self.shift = (-torch.tensor(mean, device=device) / torch.tensor(std, device=device)).view(
            1, -1, 1, 1
        )

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the normalised images, float32, shape (b, C, H, W)."""
        # In place, since allocating memory for large batches costs more than the arithmetic.
        return images.to(torch.float32, copy=True).mul_(self.scale).add_(self.shift)


def crop_and_flip(
    images: torch.Tensor,
    top: torch.Tensor,
    left: torch.Tensor,
    flip: torch.Tensor,
    padding: int,
) -> torch.Tensor:
    """Pad images with zeros, crop them to their original size and mirror some of them.

    Args:
        images: images, uint8, shape (b, C, H, W).
        top: first row of each crop, int64 in 0..2·padding, shape (b,).
        left: first column of each crop, int64 in 0..2·padding, shape (b,).
        flip: whether each image is mirrored horizontally, bool, shape (b,).
        padding: number of zeros added on each side of an image.
    """
    count, channels, height, width = images.shape
    device = images.device
    padded = functional.pad(images, (padding,) * 4)
    rows = top[:, None] + torch.arange(height, device=device)
    unflipped = torch.arange(width, device=device)
    columns = left[:, None] + torch.where(flip[:, None], width - 1 - unflipped, unflipped)
    return padded[
        torch.arange(count, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
