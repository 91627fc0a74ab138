"""What is done to images in batches: measured, normalised, cropped, mirrored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
