"""Pictures in class folders, `train/<class>/<picture>` and `test/<class>/<picture>`.

It is how users bring data of their own, and a second form of the small public datasets. Labels are
the alphabetical ranks of the class names; pictures are ordered by class, then by file name.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SPLITS = ("train", "test")
LAYOUT = "train/<class>/<picture> and test/<class>/<picture>"
_CHUNK = 500
_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})

Listing = dict[str, list["Path"]]
"""The pictures of each class of one split."""


def read_folders(
    data_dir: Path,
    name: str,
    classes: int | None = None,
    image: tuple[int, int, int] | None = None,
) -> Dataset:
    """Decode all pictures to RGB.

    Args:
        data_dir: the folder that holds `train/` and `test/`.
        name: of the dataset.
        classes: how many class folders there must be; None for any number from 2.
        image: shape (3, H, W) that every picture must have; None: that of the first.

    Raises:
        DataError: no class folders, an empty one, classes that differ between the splits, a picture
            that cannot be read or has another size, or more than fits into memory.
    """
    listings = {split: list_pictures(data_dir, split) for split in SPLITS}
    names = check_classes(data_dir, name, listings, classes)
    (height, width), wanted = _size(listings["train"], name, image)
    _check_memory(data_dir, sum(map(_count, listings.values())) * 3 * height * width)
    train, test = (_read_split(listings[split], (height, width), wanted) for split in SPLITS)
    return Dataset(name, names, train, test, own=name == FOLDER.name)


def _size(
    listing: Listing, name: str, image: tuple[int, int, int] | None
) -> tuple[tuple[int, int], str]:
    """Return the height and width that all pictures must have, and whose they are."""
    if image is not None:
        return image[1:], f"{name} has"
    for path in (path for pictures in listing.values() for path in pictures):
        with suppress(DataError):
            height, width = _decode(path).shape[:2]
            return (height, width), f"{shown(path)} is"
    raise DataError(f"{name}: not one of its pictures can be read")


def list_pictures(data_dir: Path, split: str) -> Listing:
    """List the pictures of each class, both sorted by name; hidden files are passed over.

    Raises:
        DataError: no class folders, an empty one, a name that is not UTF-8, two classes that differ
            by case alone, or a folder that may not be read.
    """
    root = data_dir / split
    if not root.is_dir():
        raise DataError(f"no folder {shown(root)}: expected {LAYOUT} in {shown(data_dir)}")
    folders = [path for path in _visible(root) if path.is_dir()]
    if not folders:
        raise DataError(f"no class folders in {shown(root)}: expected {LAYOUT}")
    seen: dict[str, Path] = {}
    listing: Listing = {}
    for folder in folders:
        twin = seen.setdefault(folder.name.casefold(), folder)
        if twin is not folder:
            raise DataError(
                f"{shown(twin)} and {shown(folder)} differ by case alone: rename or merge them"
            )
        if shown(folder) != str(folder):
            raise DataError(f"the name of class folder {shown(folder)} is not UTF-8: rename it")
        listing[folder.name] = _visible(folder)
        if not listing[folder.name]:
            raise DataError(f"class folder {folder} is empty: add pictures or remove it")
    return listing


def signature(data_dir: Path) -> str:
    """Return a digest of the names, sizes and times of all pictures.

    Raises:
        DataError: the folders cannot be listed.
    """
    content = hashlib.sha256(os.fsencode(data_dir.resolve()))
    for split in SPLITS:
        for pictures in list_pictures(data_dir, split).values():
            for path in pictures:
                status = _status(path)
                line = f"/{status.st_size}/{status.st_mtime_ns}\n"
                content.update(os.fsencode(path.relative_to(data_dir)) + line.encode())
    return content.hexdigest()


def present(data_dir: Path) -> bool:
    """Tell whether the folder claims to hold class folders."""
    return any((data_dir / split).is_dir() for split in SPLITS)


def shown(path: Path) -> str:
    """Return a path as it can be printed, whatever its bytes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _visible(folder: Path) -> list[Path]:
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot list {shown(folder)}: {error.strerror}") from error
    return sorted(paths, key=lambda path: path.name)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise DataError(f"cannot read {shown(path)}: {error.strerror}") from error


def _count(listing: Listing) -> int:
    return sum(map(len, listing.values()))


def check_classes(
    data_dir: Path, name: str, listings: dict[str, Listing], classes: int | None
) -> tuple[str, ...]:
    """Return the class names, sorted, which training and test split must share.

    Args:
        data_dir: of the class folders.
        name: of the dataset.
        listings: of both splits.
        classes: how many there must be; None for any number from 2.

    Raises:
        DataError: they differ, or are too few.
    """
    train, test = (set(listings[split]) for split in SPLITS)
    for only, has, lacks in ((train - test, "train", "test"), (test - train, "test", "train")):
        if only:
            names = ", ".join(sorted(only)[:3]) + (", …" if len(only) > 3 else "")
            raise DataError(
                f"{data_dir}: {has}/ has class folders that {lacks}/ has not ({names}): "
                "both need the same classes"
            )
    if len(train) < 2 or (classes is not None and len(train) != classes):
        needed = "at least 2" if classes is None else f"exactly {classes}"
        raise DataError(f"{data_dir / 'train'} has {len(train)} class folders: {name} has {needed}")
    return tuple(sorted(train))


def _check_memory(data_dir: Path, size: int) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory / 2:
        raise DataError(
            f"the pictures in {data_dir} take {size / 1e9:.1f} GB decoded, more than half of this "
            f"machine's {memory / 1e9:.1f} GB: make them smaller or fewer"
        )


def _read_split(listing: Listing, size: tuple[int, int], wanted: str) -> Split:
    paths = [path for pictures in listing.values() for path in pictures]
    counts = [len(pictures) for pictures in listing.values()]
    images, unreadable = decode_all(paths, size, wanted)
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return Split(images, labels, unreadable)


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

    def decode(start: int) -> None:
        for position, path in enumerate(paths[start : start + _CHUNK], start):
            try:
                pixels = _decode(path)
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
        for _ in pool.map(decode, range(0, len(paths), _CHUNK)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    return images, dict(sorted(unreadable.items()))


def _decode(path: Path) -> NDArray[np.uint8]:
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


def read(data_dir: Path) -> Dataset:
    """Read the user's own pictures: any number of classes, any uniform size."""
    return read_folders(data_dir, FOLDER.name)


def list_files(data_dir: Path) -> tuple[str, ...]:
    """Return the names of the training pictures, from the data folder on, in the order of samples.

    Raises:
        DataError: as for `list_pictures`.
    """
    listing = list_pictures(data_dir, "train")
    paths = (path for name in sorted(listing) for path in listing[name])
    return tuple(shown(path.relative_to(data_dir)) for path in paths)


FOLDER = Source(
    name="folder",
    title="class folders",
    classes=None,
    train_size=None,
    image=None,
    read=read,
    signature=signature,
    licence="the user's own",
    list_files=list_files,
    layout=f"{LAYOUT}, small pictures of one size",
    offered="you",
)
