"""Pictures of any size in class folders: `train/`, `test/` and, if wanted, `validation/`.

They are a user's own, as in `folder`, but too large or too many to be kept decoded: they are read
from their files when they are needed. Pictures in `validation/` have checked labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import (
    SPLITS,
    Listing,
    check_classes,
    list_pictures,
    signature,
)
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

VALIDATION = "validation"
RESIZE = 256
"""Short side, in pixels, to which a picture is resized before a part is cut out."""


class PictureFolder(Source):
    """The user's own pictures of any size."""

    name = "pictures"
    title = "pictures in class folders"
    licence = "the user's own"
    from_files = True
    layout = (
        "train/<class>/<picture>, test/<class>/<picture> and, if wanted, "
        "validation/<class>/<picture>, of any size"
    )
    offered = "you"

    def read(self, data_dir: Path) -> Dataset:
        """Index the pictures; none is decoded.

        Raises:
            DataError: if class folders are missing or empty, or differ between the splits.
        """
        listings = {split: list_pictures(data_dir, split) for split in SPLITS}
        classes = check_classes(data_dir, self.name, listings, None)
        validation = None
        if (data_dir / VALIDATION).is_dir():
            listing = list_pictures(data_dir, VALIDATION)
            unknown = sorted(set(listing) - set(classes))
            if unknown:
                raise DataError(
                    f"{data_dir / VALIDATION / unknown[0]} is no class of train/ and test/: rename "
                    "or remove it"
                )
            validation = _split(data_dir, VALIDATION, listing, classes)
        train, test = (
            _split(data_dir, split, listing, classes) for split, listing in listings.items()
        )
        return Dataset(self.name, classes, train, test, validation=validation, own=True)

    def signature(self, data_dir: Path) -> str:
        """Return a digest of the names, sizes and times of all pictures."""
        validation = (VALIDATION,) if (data_dir / VALIDATION).is_dir() else ()
        return signature(data_dir, (*SPLITS, *validation))


def _split(data_dir: Path, split: str, listing: Listing, classes: tuple[str, ...]) -> Split:
    paths = [path for name in classes for path in listing.get(name, [])]
    counts = [len(listing.get(name, [])) for name in classes]
    root = data_dir / split
    names = [str(path.relative_to(root)).encode("utf-8", "surrogateescape") for path in paths]
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return Split(Pictures.of(root, names, RESIZE), labels)
