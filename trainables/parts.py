"""The samples of a split that a run trains on or evaluates: small images in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from trainables.draws import EpochDraws, batches_of
from trainables.images import PADDING, crop_and_flip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class Part(Protocol):
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


class ImagePart:
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
