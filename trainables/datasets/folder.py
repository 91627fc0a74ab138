"""Datasets of small pictures of equal size in class folders: a user's own pictures, or CIFAR.

The label of a class is the position of its name in alphabetical order. Pictures are ordered by
class, then by file name, both by the code points of their characters: 10.png comes before 2.png.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from trainables.cpus import usable_cpu_count
from trainables.datasets import class_folders
from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import (
    SPLITS,
    Listing,
    list_splits,
    printable,
)
from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CHUNK_SIZE = 500
"""Number of pictures that one task of a decoding thread covers."""
EIGHT_BIT_MODES = frozenset(
    {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}
)
"""Pixel formats, by Pillow's names, that can be converted to 8-bit RGB without loss of range."""


def read_folders(
    data_dir: Path,
    name: str,
    class_count: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
    *,
    user_owned: bool = False,
) -> Dataset:
    """Read a dataset from class folders; all pictures are decoded to RGB.

    Args:
        data_dir: folder that contains `train/` and `test/`.
        name: name of the dataset.
        class_count: required number of class folders; None allows any number from 2.
        image_shape: required shape (3, H, W) of every picture; None requires the shape of the
            first readable picture.
        user_owned: whether the user supplied the data; see `Dataset`.

    Raises:
        DataError: if class folders are missing or empty, classes differ between the splits, a
            picture has another size, no picture can be read, or the decoded pictures would not fit
            into memory.
    """
    class_names, listings = list_splits(data_dir, name, class_count)
    (height, width), size_owner = _required_size(listings["train"], name, image_shape)
    picture_count = sum(
        len(pictures) for listing in listings.values() for pictures in listing.values()
    )
    _check_memory(data_dir, picture_count * 3 * height * width)
    train, test = (_read_split(listings[split], (height, width), size_owner) for split in SPLITS)
    return Dataset(name, class_names, train, test, user_owned=user_owned)


def _required_size(
    listing: Listing, name: str, image_shape: tuple[int, int, int] | None
) -> tuple[tuple[int, int], str]:
    """Return the required height and width, and what has this size, such as "cifar10 has"."""
    if image_shape is not None:
        return image_shape[1:], f"{name} has"
    for path in (path for pictures in listing.values() for path in pictures):
        with suppress(DataError):
            height, width = decode(path).shape[:2]
            return (height, width), f"{printable(path)} is"
    raise DataError(f"{name}: none of the pictures can be read: replace them by 8-bit pictures")


def _check_memory(data_dir: Path, decoded_bytes: int) -> None:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if decoded_bytes > memory_bytes / 2:
        raise DataError(
            f"the pictures in {data_dir} take {decoded_bytes / 1e9:.1f} GB decoded, more than half "
            f"of this machine's memory ({memory_bytes / 1e9:.1f} GB): use fewer or smaller "
            "pictures, "
            "or the dataset 'pictures', which decodes pictures on demand"
        )


def _read_split(listing: Listing, size: tuple[int, int], size_owner: str) -> Split:
    paths = [path for pictures in listing.values() for path in pictures]
    class_sizes = [len(pictures) for pictures in listing.values()]
    images, unreadable = decode_all(paths, size, size_owner)
    labels = np.repeat(np.arange(len(class_sizes)), class_sizes).astype(np.int64)
    return Split(images, labels, unreadable)


def decode_all(
    paths: Sequence[Path], size: tuple[int, int], size_owner: str
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Decode picture files of equal size to one array of RGB pixels.

    Args:
        paths: paths of the pictures.
        size: required height and width of all pictures.
        size_owner: subject and verb for the error message about a wrong size, such as
            "cifar10 has" in "cifar10 has 32×32".

    Returns:
        Pixels, uint8, shape (n, 3, H, W), and the error message of each picture that could not be
        decoded, by its position in `paths`; the pixels of such a picture are 0.

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
                    f"{printable(path)} is {pixels.shape[1]}×{pixels.shape[0]} pixels but "
                    f"{size_owner} {size[1]}×{size[0]}: all pictures must have the same size"
                )
            images[position] = pixels.transpose(2, 0, 1)

    # Pillow releases the GIL while it decodes: threads help with larger pictures.
    pool = ThreadPoolExecutor(max_workers=min(4, usable_cpu_count()))
    try:
        for _ in pool.map(decode_chunk, range(0, len(paths), CHUNK_SIZE)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    return images, dict(sorted(unreadable.items()))


def decode(path: Path) -> NDArray[np.uint8]:
    """Return the RGB pixels of a picture file, uint8, shape (H, W, 3).

    Raises:
        DataError: if the file cannot be read or is not an 8-bit picture.
    """
    from PIL import Image

    if not path.is_file():  # reading a pipe or a device may never end
        raise DataError(f"cannot read {printable(path)}, which is no regular file: remove it")
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            if mode in EIGHT_BIT_MODES:
                return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"cannot read {printable(path)} as a picture: replace or remove the file"
        ) from error
    raise DataError(f"{printable(path)} is not an 8-bit picture (mode {mode}): convert the file")


class Folder(Source):
    """Dataset of a user's small pictures of equal size in class folders."""

    name = "folder"
    title = "class folders"
    licence = "your own data"
    layout = f"{class_folders.LAYOUT}, small pictures of equal size"
    distributor = "you"

    def read(self, data_dir: Path) -> Dataset:
        """Read and decode all pictures; see `read_folders`."""
        return read_folders(data_dir, self.name, user_owned=True)

    def signature(self, data_dir: Path) -> str:
        """Return a SHA-256 of the names, sizes and modification times of all pictures."""
        return class_folders.signature(data_dir, self.name)

    def list_files(self, data_dir: Path) -> tuple[str, ...]:
        """Return the paths of the training pictures below `train/`, in the order of the samples."""
        return class_folders.list_files(data_dir)
