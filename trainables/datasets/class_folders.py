"""Listing of class folders: `train/<class>/<picture>` and `test/<class>/<picture>`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

SPLITS = ("train", "test")
"""Folders of the splits."""
LAYOUT = "train/<class>/<picture> and test/<class>/<picture>"
"""Description of the folders, for messages."""

Listing = dict[str, list[Path]]
"""Paths of the pictures of one split, by class."""


def any_split(data_dir: Path) -> bool:
    """Return whether a data folder has a folder for any of the splits."""
    return any((data_dir / split).is_dir() for split in SPLITS)


def list_pictures(data_dir: Path, split: str) -> Listing:
    """List the pictures of each class of a split, without hidden files.

    Classes and pictures are sorted by name.

    Raises:
        DataError: if there are no class folders, one is empty, its name is not UTF-8, two names
            differ by case alone, or a folder cannot be listed.
    """
    root = data_dir / split
    if not root.is_dir():
        raise DataError(
            f"no folder {printable(root)}: expected {LAYOUT} in {printable(data_dir)}, or "
            "in the folder that --data-dir names"
        )
    folders = [path for path in list_visible(root) if path.is_dir()]
    if not folders:
        raise DataError(f"no class folders in {printable(root)}: expected {LAYOUT}")
    by_casefold: dict[str, Path] = {}
    listing: Listing = {}
    for folder in folders:
        twin = by_casefold.setdefault(folder.name.casefold(), folder)
        if twin is not folder:
            raise DataError(
                f"{printable(twin)} and {printable(folder)} differ by case alone: rename or merge "
                "them"
            )
        if printable(folder) != str(folder):
            raise DataError(f"the name of class folder {printable(folder)} is not UTF-8: rename it")
        listing[folder.name] = list_visible(folder)
        if not listing[folder.name]:
            raise DataError(f"class folder {folder} is empty: add pictures or remove it")
    return listing


def check_classes(
    data_dir: Path, name: str, listings: dict[str, Listing], classes: int | None
) -> tuple[str, ...]:
    """Return the sorted class names, which training and test split must share.

    Args:
        data_dir: folder that contains the folders of the splits.
        name: name of the dataset.
        listings: pictures of both splits.
        classes: number of classes that there must be; None allows any number from 2.

    Raises:
        DataError: if the splits have different classes, or their number is wrong.
    """
    train, test = (set(listings[split]) for split in SPLITS)
    for difference, has, lacks in (
        (train - test, "train", "test"),
        (test - train, "test", "train"),
    ):
        if difference:
            names = ", ".join(sorted(difference)[:3]) + (", …" if len(difference) > 3 else "")
            raise DataError(
                f"{data_dir}: {has}/ has class folders that {lacks}/ has not ({names}): "
                "both need the same classes"
            )
    if len(train) < 2 or (classes is not None and len(train) != classes):
        needed = "at least 2" if classes is None else f"exactly {classes}"
        raise DataError(f"{data_dir / 'train'} has {len(train)} class folders: {name} has {needed}")
    return tuple(sorted(train))


def signature(data_dir: Path, splits: Sequence[str] = SPLITS) -> str:
    """Return a digest of the names, sizes and times of all pictures of splits.

    Raises:
        DataError: if the folders cannot be listed, or a file cannot be accessed.
    """
    content = hashlib.sha256(os.fsencode(data_dir.resolve()))
    for split in splits:
        for pictures in list_pictures(data_dir, split).values():
            for path in pictures:
                state = file_status(path)
                line = f"/{state.st_size}/{state.st_mtime_ns}\n"
                content.update(os.fsencode(path.relative_to(data_dir)) + line.encode())
    return content.hexdigest()


def list_files(data_dir: Path) -> tuple[str, ...]:
    """Return the names of the training pictures, in the order of the samples.

    Names are relative to the data folder.

    Raises:
        DataError: if the folders cannot be listed; see `list_pictures`.
    """
    listing = list_pictures(data_dir, "train")
    paths = (path for name in sorted(listing) for path in listing[name])
    return tuple(printable(path.relative_to(data_dir)) for path in paths)


def printable(path: Path) -> str:
    """Return a path as printable text; bytes that are not UTF-8 are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def list_visible(folder: Path) -> list[Path]:
    """Return the content of a folder, sorted by name, without hidden files.

    Raises:
        DataError: if the folder cannot be listed.
    """
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot list {printable(folder)}: {error.strerror}") from error
    return sorted(paths, key=lambda path: path.name)


def file_stamp(path: Path) -> str:
    """Return a text of a file's path, size and time of change.

    Raises:
        DataError: if the file is missing or cannot be accessed.
    """
    state = file_status(path)
    return f"{path.resolve()}/{state.st_size}/{state.st_mtime_ns}"


def file_status(path: Path) -> os.stat_result:
    """Return the file system's record of a file.

    Raises:
        DataError: if the file is missing or cannot be accessed.
    """
    try:
        return path.stat()
    except OSError as error:
        raise DataError(f"cannot read {printable(path)}: {error.strerror}") from error
