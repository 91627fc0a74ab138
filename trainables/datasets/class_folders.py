"""Class folders: pictures in `train/<class>/` and `test/<class>/`; listing and file stamps."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

SPLITS = ("train", "test")
"""Names of the training and the test split, and of their folders."""
LAYOUT = "train/<class>/<picture> and test/<class>/<picture>"
"""Description of the files that class folders must contain, shown in messages."""

_MIME_TYPES = mimetypes.MimeTypes()
"""Types of files by their suffix, the same on every machine."""

Listing = dict[str, list[Path]]
"""Paths of the pictures of one split, by class name."""


def has_any_split(data_dir: Path) -> bool:
    """Return whether a data folder contains `train/` or `test/`."""
    return any((data_dir / split).is_dir() for split in SPLITS)


def list_pictures(data_dir: Path, split: str) -> Listing:
    """Return the paths of a split's pictures by class, sorted by name; hidden files are left out.

    Raises:
        DataError: if the split has no class folders, or pictures beside them, a class folder is
            empty, a class name is not UTF-8, two class names differ only in case, or a folder
            cannot be listed.
    """
    root = data_dir / split
    if not root.is_dir():
        raise DataError(
            f"no folder {printable(root)}: put {LAYOUT} into {printable(data_dir)}, or "
            "name the folder that contains them with --data-dir"
        )
    entries = list_visible(root)
    folders = [path for path in entries if path.is_dir()]
    if not folders:
        raise DataError(f"no class folders in {printable(root)}: expected {LAYOUT}")
    strays = [path for path in entries if path not in folders and _is_picture_name(path.name)]
    if strays:
        raise DataError(
            f"{printable(root)} has pictures beside its class folders ({len(strays)}, the first is "
            f"{printable(Path(strays[0].name))}): move them into the folders of their classes, or "
            "remove them"
        )
    by_casefold: dict[str, Path] = {}
    listing: Listing = {}
    for folder in folders:
        twin = by_casefold.setdefault(folder.name.casefold(), folder)
        if twin is not folder:
            raise DataError(
                f"{printable(twin)} and {printable(folder)} differ only in case: rename one "
                "or merge them"
            )
        if printable(folder) != str(folder):
            raise DataError(
                f"the name of class folder {printable(folder)} is not UTF-8: rename the folder"
            )
        listing[folder.name] = list_visible(folder)
        if not listing[folder.name]:
            raise DataError(f"class folder {folder} is empty: add pictures or remove the folder")
    return listing


def _is_picture_name(file_name: str) -> bool:
    file_type, _ = _MIME_TYPES.guess_type(file_name, strict=False)
    return file_type is not None and file_type.startswith("image/")


def list_splits(
    data_dir: Path, name: str, class_count: int | None = None
) -> tuple[tuple[str, ...], dict[str, Listing]]:
    """Return the sorted class names of class folders, and the pictures of both splits.

    Args:
        data_dir: folder that contains the folders of the splits.
        name: name of the dataset.
        class_count: required number of classes; None allows any number from 2.

    Raises:
        DataError: if the folders of a split cannot be used (see `list_pictures`), the splits have
            different classes, or the number of classes is wrong.
    """
    listings = {split: list_pictures(data_dir, split) for split in SPLITS}
    return _check_classes(data_dir, name, listings, class_count), listings


def _check_classes(
    data_dir: Path, name: str, listings: dict[str, Listing], class_count: int | None
) -> tuple[str, ...]:
    """Return the sorted class names, after the checks that `list_splits` describes."""
    train, test = (set(listings[split]) for split in SPLITS)
    for unmatched, split, other_split in (
        (train - test, "train", "test"),
        (test - train, "test", "train"),
    ):
        if unmatched:
            names = ", ".join(sorted(unmatched)[:3]) + (", …" if len(unmatched) > 3 else "")
            raise DataError(
                f"{data_dir}: {split}/ has class folders that are missing in {other_split}/ "
                f"({names}): both need the same classes"
            )
    if len(train) < 2 or (class_count is not None and len(train) != class_count):
        required = "at least 2" if class_count is None else f"exactly {class_count}"
        raise DataError(
            f"{data_dir / 'train'} has {len(train)} class folders: {name} needs {required}; name "
            "another data folder with --data-dir"
        )
    return tuple(sorted(train))


def signature(
    data_dir: Path,
    name: str,
    class_count: int | None = None,
    *,
    optional_splits: Sequence[str] = (),
) -> str:
    """Return a SHA-256 of the names, sizes and modification times of all pictures.

    Args:
        data_dir: folder that contains the folders of the splits.
        name: name of the dataset.
        class_count: required number of classes; None allows any number from 2.
        optional_splits: names of further splits that the folder contains.

    Raises:
        DataError: if the class folders cannot be used (see `list_splits`), or a file cannot be
            accessed.
    """
    _, listings = list_splits(data_dir, name, class_count)
    listings |= {split: list_pictures(data_dir, split) for split in optional_splits}
    content = hashlib.sha256(os.fsencode(data_dir.resolve()))
    for listing in listings.values():
        for pictures in listing.values():
            for path in pictures:
                status = file_status(path)
                line = f"/{status.st_size}/{status.st_mtime_ns}\n"
                content.update(os.fsencode(path.relative_to(data_dir)) + line.encode())
    return content.hexdigest()


def list_files(data_dir: Path) -> tuple[str, ...]:
    """Return the paths of the training pictures below `train/`, in the order of the samples.

    Raises:
        DataError: if the folders cannot be listed; see `list_pictures`.
    """
    listing = list_pictures(data_dir, "train")
    paths = (path for name in sorted(listing) for path in listing[name])
    return tuple(printable(path.relative_to(data_dir / "train")) for path in paths)


def printable(path: Path) -> str:
    """Return a path as text for messages; bytes that are not UTF-8 are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def list_visible(folder: Path) -> list[Path]:
    """Return the paths of all entries of a folder that are not hidden, sorted by name.

    Raises:
        DataError: if the folder cannot be listed.
    """
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot list {printable(folder)}: {error.strerror}") from error
    return sorted(paths, key=lambda path: path.name)


def file_stamp(path: Path) -> str:
    """Return a text with path, size and modification time of a file, which changes with the file.

    Raises:
        DataError: if the file is missing or cannot be accessed.
    """
    status = file_status(path)
    return f"{path.resolve()}/{status.st_size}/{status.st_mtime_ns}"


def file_status(path: Path) -> os.stat_result:
    """Return the status of a file: its size, times and mode.

    Raises:
        DataError: if the file is missing or cannot be accessed.
    """
    try:
        return path.stat()
    except OSError as error:
        raise DataError(f"cannot read {printable(path)}: {error.strerror}") from error
