"""The user's own arrays, in `data.npz`."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import SPLITS, file_stamp
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FILE = "data.npz"
"""Name of the file in the data folder."""
LAYOUT = (
    f"{FILE} with x_train, y_train, x_test, y_test (x: uint8 images of shape (n, H, W), "
    "(n, H, W, C) or (n, C, H, W); y: integer labels from 0) and, if wanted, classes (names)"
)
"""Description of the arrays, for messages."""


class Npz(Source):
    """The user's own arrays."""

    name = "npz"
    title = "arrays"
    licence = "the user's own"
    layout = LAYOUT
    offered = "you"

    def read(self, data_dir: Path) -> Dataset:
        """Read the arrays; pickled objects in them are refused.

        Raises:
            DataError: if the file is missing or damaged, or an array is missing or of a wrong kind.
        """
        path = _path(data_dir)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} cannot be read as NumPy arrays: write it with numpy.savez, without "
                "objects (classes are texts)"
            ) from error
        splits = {split: _split(path, arrays, split) for split in SPLITS}
        shapes = {name: split.images.shape[1:] for name, split in splits.items()}  # type: ignore[union-attr]
        if shapes["train"] != shapes["test"]:
            raise DataError(
                f"{path}: images of x_train have shape {shapes['train']}, of x_test "
                f"{shapes['test']}: both need the same"
            )
        names = _classes(path, arrays, splits)
        return Dataset(self.name, names, splits["train"], splits["test"], own=True)

    def signature(self, data_dir: Path) -> str:
        """Return the path, size and time of the file."""
        return file_stamp(_path(data_dir))


def _path(data_dir: Path) -> Path:
    path = data_dir / FILE
    if not path.is_file():
        raise DataError(f"no {FILE} in {data_dir.absolute()}: expected {LAYOUT}")
    return path


def _split(path: Path, arrays: dict[str, NDArray[Any]], split: str) -> Split:
    names = (f"x_{split}", f"y_{split}")
    for name in names:
        if name not in arrays:
            raise DataError(f"{path} has no array '{name}': expected {LAYOUT}")
    images, labels = (arrays[name] for name in names)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path}: {names[0]} is {images.dtype} of shape {images.shape}, it must be uint8 and "
            "(n, H, W), (n, H, W, C) or (n, C, H, W)"
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{path}: {names[1]} is {labels.dtype} of shape {labels.shape}, it must be integers "
            "of shape (n,)"
        )
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.shape[1] not in (1, 3):
        raise DataError(f"{path}: {names[0]} has {images.shape[1]} channels, allowed are 1 and 3")
    return Split(np.ascontiguousarray(images), labels.astype(np.int64))


def _classes(
    path: Path, arrays: dict[str, NDArray[Any]], splits: dict[str, Split]
) -> tuple[str, ...]:
    count = 1 + max(int(split.labels.max(initial=0)) for split in splits.values())
    names = arrays.get("classes")
    if names is None:
        present = np.unique(splits["train"].labels)
        if len(present) < count:
            missing = int(np.setdiff1d(np.arange(len(present) + 1), present)[0])
            raise DataError(
                f"{path}: y_train has no sample of class {missing}, but labels up to {count - 1}: "
                "number the classes from 0 without a gap, or name them all in 'classes'"
            )
        return tuple(str(label) for label in range(count))
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) < len(names):
        raise DataError(f"{path}: classes must be a vector of different texts")
    return tuple(names.tolist())
