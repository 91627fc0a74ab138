"""Loader of pictures in files, which threads decode while the network trains.

torchvision's decoders release Python's global lock, so that threads decode in parallel. A torch
`DataLoader` would use processes, and copy each batch between them. Only a few batches are in memory
at a time.
"""

from __future__ import annotations

import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torchvision.io import ImageReadMode, decode_image, read_file

from trainables.errors import DataError
from trainables.run_data.loaders import EpochDraws, split_into_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from trainables.datasets.pictures import Pictures
    from trainables.run.spec import UnreadablePolicy

# torchvision 0.29 warns at every import that torchcodec will replace its decoders.
warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities")

PREFETCH_BATCHES = 3
"""Number of batches that are decoded ahead of the training."""


class PictureLoader:
    """Loader of large pictures in files, which cuts a square out of each picture."""

    def __init__(
        self,
        pictures: Pictures,
        index: NDArray[np.int64],
        labels: NDArray[np.int64],
        device: torch.device,
        crop_size: int,
        *,
        threads: int = 1,
        unreadable_policy: UnreadablePolicy = "fail",
    ) -> None:
        """Create a loader for some samples of a split.

        Args:
            pictures: pictures of the whole split.
            index: positions of the samples in the split, shape (n,).
            labels: labels of the samples, shape (n,).
            device: device of the batches.
            crop_size: side of the square that is cut out of each picture, in pixels.
            threads: number of decoding threads.
            unreadable_policy: treatment of pictures that cannot be decoded, see
                `RunSpec.unreadable`.
        """
        self.index = index
        self.labels = torch.from_numpy(labels).to(device)
        self._pictures = pictures
        self._device = device
        self._crop_size = crop_size
        self._threads = threads
        self._unreadable_policy = unreadable_policy
        self._unreadable_positions: set[int] = set()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def unreadable_positions(self) -> list[int]:
        """Positions in the split of pictures that could not be decoded so far, ascending."""
        return sorted(self._unreadable_positions)

    def epoch_batches(
        self, draws: EpochDraws, batch_size: int, *, drop_last: bool
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of an epoch in random order, see `Loader.epoch_batches`.

        Raises:
            DataError: if a picture cannot be decoded and `unreadable_policy` is "fail".
        """
        return self._decode_batches(
            split_into_batches(draws.order, batch_size, drop_last=drop_last), draws
        )

    def batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the central squares of all pictures in batches, see `Loader.batches`.

        Raises:
            DataError: if a picture cannot be decoded and `unreadable_policy` is "fail".
        """
        positions = torch.arange(len(self)).numpy()
        return self._decode_batches(
            split_into_batches(positions, batch_size, drop_last=False), None
        )

    def _decode_batches(
        self, batches: Sequence[NDArray[np.int64]], draws: EpochDraws | None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield batches of pictures, of which a few are decoded ahead; skip unreadable pictures."""
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decoder")
        queue: deque[tuple[NDArray[np.int64], list[Future[torch.Tensor | None]]]] = deque()
        remaining_batches = iter(batches)

        def submit_next() -> None:
            batch = next(remaining_batches, None)
            if batch is not None:
                futures = [
                    pool.submit(self._load_square, int(position), draws) for position in batch
                ]
                queue.append((batch, futures))

        try:
            for _ in range(PREFETCH_BATCHES):
                submit_next()
            while queue:
                batch, futures = queue.popleft()
                images = [future.result() for future in futures]
                submit_next()
                readable_rows = [row for row, image in enumerate(images) if image is not None]
                if readable_rows:
                    positions = torch.from_numpy(batch[readable_rows]).to(self._device)
                    pixels = torch.stack([image for image in images if image is not None])
                    yield pixels.to(self._device), positions
        finally:
            pool.shutdown(cancel_futures=True)

    def _load_square(self, position: int, draws: EpochDraws | None) -> torch.Tensor | None:
        """Load the picture of one sample, resized and cropped to a square of shape (3, S, S).

        Return None if the picture cannot be decoded.
        """
        split_position = int(self.index[position])
        path = self._pictures.path(split_position)
        try:
            image = decode_picture(path)
        except DataError:
            if self._unreadable_policy == "fail":
                raise
            self._unreadable_positions.add(split_position)
            return None
        image = resize_short_side(image, self._pictures.short_side, self._crop_size)
        if draws is None or draws.crop is None:
            image = central_crop(image, self._crop_size, self._crop_size)
        else:
            top, left = (
                int(relative_offsets[position] * (side - self._crop_size + 1))
                for relative_offsets, side in zip(draws.crop, image.shape[1:], strict=True)
            )
            image = image[:, top : top + self._crop_size, left : left + self._crop_size]
        is_flipped = draws is not None and draws.flip is not None and bool(draws.flip[position])
        return image.flip(2) if is_flipped else image


def resize_short_side(image: torch.Tensor, short_side: int | None, crop_size: int) -> torch.Tensor:
    """Resize an image, shape (C, h, w), so that a square can be cut out.

    Args:
        image: pixels, uint8.
        short_side: new length of the short side in pixels; None keeps the present length.
        crop_size: side of the square; the short side becomes at least as long.
    """
    old_side = min(image.shape[1:])
    new_side = max(short_side or old_side, crop_size)
    if old_side == new_side:
        return image
    return resize(
        image, [max(new_side, int(side * new_side / old_side)) for side in image.shape[1:]]
    )


def resize(image: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Resize an image to a height and a width, with antialiasing; the result is uint8."""
    resized: torch.Tensor = functional.interpolate(
        image[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0]


def central_crop(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Cut the central rectangle out of an image, shape (C, h, w), which is at least as large."""
    top, left = (
        round((side - wanted) / 2)
        for side, wanted in zip(image.shape[1:], (height, width), strict=True)
    )
    return image[:, top : top + height, left : left + width]


def decode_picture(path: str) -> torch.Tensor:
    """Decode a picture file to RGB pixels, uint8, shape (3, H, W).

    Raises:
        DataError: if the file cannot be read or is not an 8-bit picture.
    """
    if not Path(path).is_file():  # reading a pipe or a device may never end
        raise DataError(
            f"cannot read {path}, which is no regular file: remove it from the dataset, or set "
            "unreadable: skip in the study"
        )
    try:
        image: torch.Tensor = decode_image(read_file(path), mode=ImageReadMode.RGB)
        image = image[0] if image.ndim == 4 else image  # first frame of an animation
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"cannot read {path} as a picture: replace the file, remove it from the dataset, or "
            "set unreadable: skip in the study"
        ) from error
    if image.dtype != torch.uint8:
        raise DataError(f"{path} is not an 8-bit picture: convert the file to 8 bits per channel")
    return image
