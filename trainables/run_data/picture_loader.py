"""Samples whose pictures stay files: decoded in threads while the network trains on others.

torchvision's decoders let go of Python's lock, so that threads decode side by side without the
copies between processes that a `DataLoader` makes. Never more than a few batches are in memory.
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

# torchvision 0.29 announces a successor, torchcodec; it says so once for every import.
warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities")

AHEAD = 3
"""Batches that are decoded while one is trained on."""


class PictureLoader:
    """Large pictures, of which the network sees a square part."""

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
        """Take a part.

        Args:
            pictures: of the whole split.
            index: positions of the part in the split, shape (n,).
            labels: of the part, shape (n,).
            device: where batches are wanted.
            crop_size: side of the part that the network sees.
            threads: that decode.
            policy: what becomes of pictures that cannot be decoded.
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
        """Yield (uint8 images, positions in the part), augmented, in the drawn order."""
        return self._decoded(batches_of(draws.order, size, drop_last=drop_last), draws)

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images, positions) in order, from the middle of each picture.

        Raises:
            DataError: a picture cannot be decoded, and the policy is to fail.
        """
        order = torch.arange(len(self)).numpy()
        return self._decoded(batches_of(order, size, drop_last=False), None)

    def _decoded(
        self, batches: Sequence[NDArray[np.int64]], draws: EpochDraws | None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decoder")
        waiting: deque[tuple[NDArray[np.int64], list[Future[torch.Tensor | None]]]] = deque()
        rest = iter(batches)

        def begin() -> None:
            batch = next(rest, None)
            if batch is not None:
                begun = [pool.submit(self._picture, int(position), draws) for position in batch]
                waiting.append((batch, begun))

        try:
            for _ in range(AHEAD):
                begin()
            while waiting:
                batch, begun = waiting.popleft()
                images = [future.result() for future in begun]
                begin()
                read = [n for n, image in enumerate(images) if image is not None]
                if read:
                    positions = torch.from_numpy(batch[read]).to(self._device)
                    found = torch.stack([image for image in images if image is not None])
                    yield found.to(self._device), positions
        finally:
            pool.shutdown(cancel_futures=True)

    def _picture(self, position: int, draws: EpochDraws | None) -> torch.Tensor | None:
        """Return the part of a picture that the network sees, (3, S, S); None to skip it."""
        place = int(self.index[position])
        path = self._pictures.path(place)
        try:
            image = decode(path)
        except DataError:
            if self._policy == "fail":
                raise
            self._unreadable.add(place)
            return None
        image = self._resized(image)
        spare = [side - self._crop_size for side in image.shape[1:]]
        if draws is None or draws.crop is None:
            top, left = (round(rest / 2) for rest in spare)
        else:
            top, left = (
                int(u[position] * (rest + 1)) for u, rest in zip(draws.crop, spare, strict=True)
            )
        image = image[:, top : top + self._crop_size, left : left + self._crop_size]
        mirrored = draws is not None and draws.flip is not None and bool(draws.flip[position])
        return image.flip(2) if mirrored else image

    def _resized(self, image: torch.Tensor) -> torch.Tensor:
        """Bring the short side to what the pictures say, and to the part's at the least."""
        short = min(image.shape[1:])
        wanted = max(self._pictures.resize or short, self._crop_size)
        if short == wanted:
            return image
        size = [max(wanted, int(side * wanted / short)) for side in image.shape[1:]]
        resized: torch.Tensor = functional.interpolate(
            image[None], size=size, mode="bilinear", antialias=True, align_corners=False
        )
        return resized[0]


def decode(path: str) -> torch.Tensor:
    """Decode a picture to RGB, uint8, shape (3, H, W).

    Raises:
        DataError: it cannot be read, or is no 8-bit picture; names it.
    """
    try:
        image: torch.Tensor = decode_image(read_file(path), mode=ImageReadMode.RGB)
        image = image[0] if image.ndim == 4 else image  # the first picture of an animation
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"cannot read {path} as a picture: replace it, take it out, or leave it out with "
            "unreadable: skip"
        ) from error
    if image.dtype != torch.uint8:
        raise DataError(f"{path} is not an 8-bit picture: convert it")
    return image
