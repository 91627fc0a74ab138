"""Loader of pictures in files, which threads decode while the network trains.

torchvision's decoders release Python's global lock, so that threads decode in parallel without the
copies between processes that a `DataLoader` makes. Only a few batches are in memory at a time.
"""

from __future__ import annotations

import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torchvision.io import ImageReadMode, decode_image, read_file

from trainables.errors import DataError
from trainables.run_data.loaders import EpochDraws, batches_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from trainables.datasets.pictures import Pictures
    from trainables.run.spec import Unreadable

# torchvision 0.29 warns at every import that torchcodec will replace its decoders.
warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities")

PREFETCH_BATCHES = 3
"""Number of batches that are decoded in advance."""


class PictureLoader:
    """Loader of large pictures in files, from each of which a square is cut."""

    def __init__(
        self,
        pictures: Pictures,
        index: NDArray[np.int64],
        labels: NDArray[np.int64],
        device: torch.device,
        crop_size: int,
        *,
        threads: int = 1,
        policy: Unreadable = "fail",
    ) -> None:
        """Select samples of a split.

        Args:
            pictures: pictures of the whole split.
            index: positions of the samples in the split, shape (n,).
            labels: labels of the samples, shape (n,).
            device: device of the batches.
            crop_size: side of the square that is cut from each picture, in pixels.
            threads: number of decoding threads.
            policy: treatment of pictures that cannot be decoded, see `RunSpec.unreadable`.
        """
        self.index = index
        self.labels = torch.from_numpy(labels).to(device)
        self._pictures = pictures
        self._device = device
        self._crop_size = crop_size
        self._threads = threads
        self._policy = policy
        self._unreadable: set[int] = set()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def unreadable(self) -> list[int]:
        """Positions in the split of pictures that could not be decoded so far, ascending."""
        return sorted(self._unreadable)

    def epoch(
        self, draws: EpochDraws, size: int, *, drop_last: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield augmented batches of an epoch, see `Loader.epoch`.

        Raises:
            DataError: if a picture cannot be decoded and the policy is "fail".
        """
        return self._decode_batches(batches_of(draws.order, size, drop_last=drop_last), draws)

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the centres of all pictures in order, see `Loader.batches`.

        Raises:
            DataError: if a picture cannot be decoded and the policy is "fail".
        """
        order = torch.arange(len(self)).numpy()
        return self._decode_batches(batches_of(order, size, drop_last=False), None)

    def _decode_batches(
        self, batches: Sequence[NDArray[np.int64]], draws: EpochDraws | None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decoder")
        queue: deque[tuple[NDArray[np.int64], list[Future[torch.Tensor | None]]]] = deque()
        remaining = iter(batches)

        def submit_next() -> None:
            batch = next(remaining, None)
            if batch is not None:
                futures = [pool.submit(self._picture, int(position), draws) for position in batch]
                queue.append((batch, futures))

        try:
            for _ in range(PREFETCH_BATCHES):
                submit_next()
            while queue:
                batch, futures = queue.popleft()
                images = [future.result() for future in futures]
                submit_next()
                readable = [row for row, image in enumerate(images) if image is not None]
                if readable:
                    positions = torch.from_numpy(batch[readable]).to(self._device)
                    stack = torch.stack([image for image in images if image is not None])
                    yield stack.to(self._device), positions
        finally:
            pool.shutdown(cancel_futures=True)

    def _picture(self, position: int, draws: EpochDraws | None) -> torch.Tensor | None:
        """Return the square cut from a picture, shape (3, S, S), or None if it is unreadable."""
        split_position = int(self.index[position])
        path = self._pictures.path(split_position)
        try:
            image = decode(path)
        except DataError:
            if self._policy == "fail":
                raise
            self._unreadable.add(split_position)
            return None
        image = self._resize(image)
        margins = [side - self._crop_size for side in image.shape[1:]]
        if draws is None or draws.crop is None:
            top, left = (round(margin / 2) for margin in margins)
        else:
            top, left = (
                int(u[position] * (margin + 1))
                for u, margin in zip(draws.crop, margins, strict=True)
            )
        image = image[:, top : top + self._crop_size, left : left + self._crop_size]
        flip = draws is not None and draws.flip is not None and bool(draws.flip[position])
        return image.flip(2) if flip else image

    def _resize(self, image: torch.Tensor) -> torch.Tensor:
        """Scale the shorter side to the dataset's `resize`, and to at least `crop_size`."""
        short_side = min(image.shape[1:])
        target = max(self._pictures.resize or short_side, self._crop_size)
        if short_side == target:
            return image
        size = [max(target, int(side * target / short_side)) for side in image.shape[1:]]
        resized: torch.Tensor = functional.interpolate(
            image[None], size=size, mode="bilinear", antialias=True, align_corners=False
        )
        return resized[0]


def decode(path: str) -> torch.Tensor:
    """Return the RGB pixels of a picture file, uint8, shape (3, H, W).

    Raises:
        DataError: if the file cannot be read or is not an 8-bit picture.
    """
    try:
        image: torch.Tensor = decode_image(read_file(path), mode=ImageReadMode.RGB)
        image = image[0] if image.ndim == 4 else image  # first frame of an animation
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"cannot read {path} as a picture: replace it, take it out, or leave it out with "
            "unreadable: skip"
        ) from error
    if image.dtype != torch.uint8:
        raise DataError(f"{path} is not an 8-bit picture: convert it")
    return image
