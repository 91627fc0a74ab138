"""Small pictures of one size in class folders.

Users can bring their own data in this form, and CIFAR can be read from it. Labels are the
alphabetical ranks of the class names; pictures are ordered by class, then by file name.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets import class_folders
from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import (
    SPLITS,
    Listing,
    check_classes,
    list_pictures,
    printable,
)
from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CHUNK_SIZE = 500
"""Number of pictures that a thread decodes at a time."""
EIGHT_BIT_MODES = frozenset(
    {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}
)
"""Pillow's modes of pictures that convert to RGB without loss of range."""


def read_folders(
    data_dir: Path,
    name: str,
    classes: int | None = None,
    image: tuple[int, int, int] | None = None,
    *,
    own: bool = False,
) -> Dataset:
    """Decode all pictures of class folders to RGB.

    Args:
        data_dir: folder that contains `train/` and `test/`.
        name: name of the dataset.
        classes: number of class folders that there must be; None allows any number from 2.
        image: shape (3, H, W) that every picture must have; None requires that of the first one.
        own: whether the dataset is the user's own.

    Raises:
        DataError: if class folders are missing or empty, classes differ between the splits, a
            picture has another size, no picture can be read, or they do not fit into memory.
    """
    listings = {split: list_pictures(data_dir, split) for split in SPLITS}
    names = check_classes(data_dir, name, listings, classes)
    (height, width), origin = _size(listings["train"], name, image)
    count = sum(len(pictures) for listing in listings.values() for pictures in listing.values())
    _check_memory(data_dir, count * 3 * height * width)
    train, test = (_read_split(listings[split], (height, width), origin) for split in SPLITS)
    return Dataset(name, names, train, test, own=own)


def _size(
    listing: Listing, name: str, image: tuple[int, int, int] | None
) -> tuple[tuple[int, int], str]:
    """Return height and width that all pictures must have, and whose they are, for messages."""
    if image is not None:
        return image[1:], f"{name} has"
    for path in (path for pictures in listing.values() for path in pictures):
        with suppress(DataError):
            height, width = decode(path).shape[:2]
            return (height, width), f"{printable(path)} is"
    raise DataError(f"{name}: not one of its pictures can be read")


def _check_memory(data_dir: Path, size: int) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory / 2:
        raise DataError(
            f"the pictures in {data_dir} take {size / 1e9:.1f} GB decoded, more than half of this "
            f"machine's {memory / 1e9:.1f} GB: make them smaller or fewer"
        )


def _read_split(listing: Listing, size: tuple[int, int], origin: str) -> Split:
    paths = [path for pictures in listing.values() for path in pictures]
    counts = [len(pictures) for pictures in listing.values()]
    images, unreadable = decode_all(paths, size, origin)
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return Split(images, labels, unreadable)


def decode_all(
    paths: Sequence[Path], size: tuple[int, int], origin: str
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Decode pictures to RGB.

    Args:
        paths: paths of the pictures.
        size: height and width that all pictures must have.
        origin: subject and verb of the message about another size: "cifar10 has".

    Returns:
        Pixels, uint8, shape (n, 3, H, W), and the error messages of pictures that could not be
        decoded, by position; their pixels are 0.

    Raises:
        DataError: if a picture has another size.
    """
    images = np.zeros((len(paths), 3, *size), dtype=np.uint8)
    unreadable: dict[int, str] = {}

    def decode_chunk(start: int) -> None:
        for position, path in enumerate(paths[start : start + CHUNK_SIZE], start):
            try:
                pixels = decode(path)
            except DataError as error:
                unreadable[position] = str(error)
                continue
            if pixels.shape[:2] != size:
                raise DataError(
                    f"{printable(path)} is {pixels.shape[1]}×{pixels.shape[0]} pixels but {origin} "
                    f"{size[1]}×{size[0]}: all pictures must have one size"
                )
            images[position] = pixels.transpose(2, 0, 1)

    # Pillow releases the GIL while it decodes: threads help with larger pictures.
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        for _ in pool.map(decode_chunk, range(0, len(paths), CHUNK_SIZE)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    return images, dict(sorted(unreadable.items()))


def decode(path: Path) -> NDArray[np.uint8]:
    """Decode a picture to RGB, uint8, shape (H, W, 3).

    Raises:
        DataError: if the file cannot be read or is not an 8-bit picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            mode = picture.mode
            if mode in EIGHT_BIT_MODES:
                return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"cannot read {printable(path)} as a picture: replace it or take it out of the folder"
        ) from error
    raise DataError(f"{printable(path)} is not an 8-bit picture (mode {mode}): convert it")


class Folder(Source):
    """The user's own small pictures: any number of classes, any uniform size."""

    name = "folder"
    title = "class folders"
    licence = "the user's own"
    layout = f"{class_folders.LAYOUT}, small pictures of one size"
    offered = "you"

    def read(self, data_dir: Path) -> Dataset:
        """Decode all pictures; see `read_folders`."""
        return read_folders(data_dir, self.name, own=True)

    def signature(self, data_dir: Path) -> str:
        """Return a digest of the names, sizes and times of all pictures."""
        return class_folders.signature(data_dir)

    def list_files(self, data_dir: Path) -> tuple[str, ...]:
        """Return the names of the training pictures, in the order of the samples."""
        return class_folders.list_files(data_dir)
