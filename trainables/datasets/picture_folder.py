"""Dataset of pictures of any size in class folders: `train/`, `test/`, optionally `validation/`.

The user supplies the pictures. They are too large or too many to be kept decoded in memory, and are
therefore decoded on demand. Pictures in `validation/` have checked labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import (
    Listing,
    list_pictures,
    list_splits,
    signature,
)
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

VALIDATION_FOLDER = "validation"
"""Name of the optional folder of the validation split."""
SHORT_SIDE = 256
"""Length in pixels to which the short side of a picture is resized before a square is cut out."""


class PictureFolder(Source):
    """Pictures of any size that the user supplies in class folders."""

    name = "pictures"
    title = "pictures in class folders"
    licence = "your own data"
    has_picture_files = True
    layout = (
        "train/<class>/<picture>, test/<class>/<picture> and, optionally, "
        "validation/<class>/<picture>, pictures of any size"
    )
    distributor = "you"

    def read(self, data_dir: Path) -> Dataset:
        """List the picture files; no picture is decoded.

        Raises:
            DataError: if class folders are missing or empty, or differ between the splits.
        """
        classes, listings = list_splits(data_dir, self.name)
        validation = None
        if (data_dir / VALIDATION_FOLDER).is_dir():
            listing = list_pictures(data_dir, VALIDATION_FOLDER)
            unknown = sorted(set(listing) - set(classes))
            if unknown:
                raise DataError(
                    f"{data_dir / VALIDATION_FOLDER / unknown[0]} is not a class of train/ and "
                    "test/: "
                    "rename or remove this folder"
                )
            validation = _index_split(data_dir, VALIDATION_FOLDER, listing, classes)
        train, test = (
            _index_split(data_dir, split, listing, classes) for split, listing in listings.items()
        )
        return Dataset(self.name, classes, train, test, validation=validation, user_owned=True)

    def signature(self, data_dir: Path) -> str:
        """Return a SHA-256 of the names, sizes and modification times of all pictures."""
        optional_splits = (VALIDATION_FOLDER,) if (data_dir / VALIDATION_FOLDER).is_dir() else ()
        return signature(data_dir, self.name, optional_splits=optional_splits)


def _index_split(data_dir: Path, split: str, listing: Listing, classes: tuple[str, ...]) -> Split:
    paths = [path for name in classes for path in listing.get(name, [])]
    class_sizes = [len(listing.get(name, [])) for name in classes]
    root = data_dir / split
    names = [str(path.relative_to(root)).encode("utf-8", "surrogateescape") for path in paths]
    labels = np.repeat(np.arange(len(class_sizes)), class_sizes).astype(np.int64)
    return Split(Pictures.from_names(root, names, SHORT_SIDE), labels)
