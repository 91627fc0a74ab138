"""Class folders, `train/<class>/<picture>` and `test/<class>/<picture>`: listed and compared."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

SPLITS = ("train", "test")
LAYOUT = "train/<class>/<picture> and test/<class>/<picture>"

Listing = dict[str, list[Path]]
"""The pictures of each class of one split."""


def present(data_dir: Path) -> bool:
    """Tell whether the folder claims to hold class folders."""
    return any((data_dir / split).is_dir() for split in SPLITS)


def list_pictures(data_dir: Path, split: str) -> Listing:
    """List the pictures of each class, both sorted by name; hidden files are passed over.

    Raises:
        DataError: no class folders, an empty one, a name that is not UTF-8, two classes that differ
            by case alone, or a folder that may not be read.
    """
    root = data_dir / split
    if not root.is_dir():
        raise DataError(
            f"no folder {shown(root)}: expected {LAYOUT} in {shown(data_dir)}, or "
            "in the folder that --data-dir names"
        )
    folders = [path for path in visible(root) if path.is_dir()]
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
        listing[folder.name] = visible(folder)
        if not listing[folder.name]:
            raise DataError(f"class folder {folder} is empty: add pictures or remove it")
    return listing


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


def signature(data_dir: Path, splits: Sequence[str] = SPLITS) -> str:
    """Return a digest of the names, sizes and times of all pictures of some splits.

    Raises:
        DataError: the folders cannot be listed.
    """
    content = hashlib.sha256(os.fsencode(data_dir.resolve()))
    for split in splits:
        for pictures in list_pictures(data_dir, split).values():
            for path in pictures:
                state = status(path)
                line = f"/{state.st_size}/{state.st_mtime_ns}\n"
                content.update(os.fsencode(path.relative_to(data_dir)) + line.encode())
    return content.hexdigest()


def list_files(data_dir: Path) -> tuple[str, ...]:
    """Return the names of the training pictures, from the data folder on, in the order of samples.

    Raises:
        DataError: as for `list_pictures`.
    """
    listing = list_pictures(data_dir, "train")
    paths = (path for name in sorted(listing) for path in listing[name])
    return tuple(shown(path.relative_to(data_dir)) for path in paths)


def shown(path: Path) -> str:
    """Return a path as it can be printed, whatever its bytes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def visible(folder: Path) -> list[Path]:
    """List a folder by name, but for hidden files.

    Raises:
        DataError: it may not be read.
    """
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot list {shown(folder)}: {error.strerror}") from error
    return sorted(paths, key=lambda path: path.name)


def file_stamp(path: Path) -> str:
    """Return place, size and time of a file."""
    state = path.stat()
    return f"{path.resolve()}/{state.st_size}/{state.st_mtime_ns}"


def status(path: Path) -> os.stat_result:
    """Return what the file system says of a file.

    Raises:
        DataError: it cannot be read, as a link to nothing.
    """
    try:
        return path.stat()
    except OSError as error:
        raise DataError(f"cannot read {shown(path)}: {error.strerror}") from error
