"""Dataset in a user's file `data.npz`, which contains NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import SPLITS, file_stamp
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FILE_NAME = "data.npz"
"""Name of the file with the arrays, in the data folder."""
LAYOUT = (
    f"{FILE_NAME} with x_train, y_train, x_test, y_test (x: uint8 images of shape (n, H, W), "
    "(n, H, W, C) or (n, C, H, W); y: integer labels from 0) and, optionally, classes (class names)"
)
"""Description of the arrays that the file must contain, shown in messages."""


class Npz(Source):
    """Dataset in a user's file of NumPy arrays."""

    name = "npz"
    title = "arrays"
    licence = "your own data"
    layout = LAYOUT
    distributor = "you"

    def read(self, data_dir: Path) -> Dataset:
        """Read the arrays; pickled objects are refused.

        Raises:
            DataError: if the file is missing or damaged, or an array is missing or has a wrong type
                or shape.
        """
        path = _path(data_dir)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
        except MemoryError as error:
            raise DataError(
                f"{path} is damaged, or its arrays do not fit into the memory of this machine "
                f"({error}): write the file again, with fewer or smaller images"
            ) from error
        except Exception as error:  # a damaged archive raises errors of many kinds
            raise DataError(
                f"{path} cannot be read as NumPy arrays: write the file with numpy.savez, "
                "without Python objects (class names as strings)"
            ) from error
        splits = {split: _read_split(path, arrays, split) for split in SPLITS}
        shapes = {name: split.images.shape[1:] for name, split in splits.items()}  # type: ignore[union-attr]
        if shapes["train"] != shapes["test"]:
            raise DataError(
                f"{path}: images have shape {shapes['train']} in x_train but {shapes['test']} in "
                "x_test: both need the same shape"
            )
        class_names = _class_names(path, arrays, splits)
        return Dataset(self.name, class_names, splits["train"], splits["test"], user_owned=True)

    def signature(self, data_dir: Path) -> str:
        """Return the path, size and modification time of the file with the arrays."""
        return file_stamp(_path(data_dir))


def _path(data_dir: Path) -> Path:
    path = data_dir / FILE_NAME
    if not path.is_file():
        raise DataError(f"no {FILE_NAME} in {data_dir.absolute()}: expected {LAYOUT}")
    return path


def _read_split(path: Path, arrays: dict[str, NDArray[Any]], split: str) -> Split:
    names = (f"x_{split}", f"y_{split}")
    for name in names:
        if name not in arrays:
            raise DataError(f"{path} has no array '{name}': expected {LAYOUT}")
    images, labels = (arrays[name] for name in names)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path}: {names[0]} is {images.dtype} of shape {images.shape}, required is uint8 of "
            "shape (n, H, W), (n, H, W, C) or (n, C, H, W)"
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{path}: {names[1]} is {labels.dtype} of shape {labels.shape}, required are "
            "integers of shape (n,)"
        )
    images = channels_first(images)
    if images.shape[1] not in (1, 3):
        raise DataError(f"{path}: {names[0]} has {images.shape[1]} channels, allowed are 1 and 3")
    return Split(np.ascontiguousarray(images), labels.astype(np.int64))


def channels_first(images: NDArray[Any]) -> NDArray[Any]:
    """Return images of shape (n, H, W), (n, H, W, C) or (n, C, H, W) in the last of these forms."""
    if images.ndim == 3:
        return images[:, None]
    if images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        return images.transpose(0, 3, 1, 2)
    return images


def _class_names(
    path: Path, arrays: dict[str, NDArray[Any]], splits: dict[str, Split]
) -> tuple[str, ...]:
    """Return the names in the array `classes`; without this array, the labels as names."""
    class_count = 1 + max(int(split.labels.max(initial=0)) for split in splits.values())
    names = arrays.get("classes")
    if names is None:
        present = np.unique(splits["train"].labels)
        if len(present) < class_count:
            missing = int(np.setdiff1d(np.arange(len(present) + 1), present)[0])
            raise DataError(
                f"{path}: y_train has no sample of class {missing}, but labels up to "
                f"{class_count - 1}: "
                "number the classes from 0 without a gap, or name them all in 'classes'"
            )
        return tuple(str(label) for label in range(class_count))
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) < len(names):
        raise DataError(f"{path}: classes must be a vector of strings without repetition")
    return tuple(names.tolist())
