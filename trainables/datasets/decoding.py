"""Small pictures of one size, decoded to one array."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.class_folders import shown
from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_CHUNK = 500
_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})


def decode_all(
    paths: Sequence[Path], size: tuple[int, int], wanted: str
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Decode pictures to RGB.

    Args:
        paths: of the pictures.
        size: height and width that all must have.
        wanted: whose size that is, for messages: "cifar10 has".

    Returns:
        Pixels, uint8, shape (n, 3, H, W), and what is wrong with pictures that could not be
        decoded, by position; their pixels are 0.

    Raises:
        DataError: a picture has another size.
    """
    images = np.zeros((len(paths), 3, *size), dtype=np.uint8)
    unreadable: dict[int, str] = {}

    def decode_chunk(start: int) -> None:
        for position, path in enumerate(paths[start : start + _CHUNK], start):
            try:
                pixels = decode(path)
            except DataError as error:
                unreadable[position] = str(error)
                continue
            if pixels.shape[:2] != size:
                raise DataError(
                    f"{shown(path)} is {pixels.shape[1]}×{pixels.shape[0]} pixels but {wanted} "
                    f"{size[1]}×{size[0]}: all pictures must have one size"
                )
            images[position] = pixels.transpose(2, 0, 1)

    # Pillow releases the GIL while it decodes: threads help with larger pictures.
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        for _ in pool.map(decode_chunk, range(0, len(paths), _CHUNK)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    return images, dict(sorted(unreadable.items()))


def decode(path: Path) -> NDArray[np.uint8]:
    """Decode a picture to RGB, uint8, shape (H, W, 3).

    Raises:
        DataError: it cannot be read, or is no 8-bit picture; names it.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            mode = picture.mode
            if mode in _EIGHT_BIT:
                return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"cannot read {shown(path)} as a picture: replace it or take it out of the folder"
        ) from error
    raise DataError(f"{shown(path)} is not an 8-bit picture (mode {mode}): convert it")
