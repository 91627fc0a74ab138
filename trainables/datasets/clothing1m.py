"""Clothing1M: a million pictures from web shops, labelled by the text around them.

T. Xiao, T. Xia, Y. Yang, C. Huang and X. Wang, Learning from Massive Noisy Labeled Data for Image
Classification, CVPR 2015. About 38.5 % of the labels are wrong, but it is not known which. The
47,570 training pictures with checked labels are not used, as in the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.lists import read_names, read_pairs, read_texts
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FOLDER = "clothing1m"
"""Folder of the dataset in the data folder."""
PREFIX = b"images/"
"""Folder with which every key begins."""
RESIZE = 256
"""Short side, in pixels, to which a picture is resized before a part is cut out. Source: public
code, dataloader_clothing1m.py."""
NAMES = "category_names_eng.txt"
"""List of the class names."""
NOISY_LABELS, CLEAN_LABELS = "noisy_label_kv.txt", "clean_label_kv.txt"
"""Lists of the noisy and of the checked labels, by key."""
SPLITS = {
    "train": ("noisy_train_key_list.txt", NOISY_LABELS),
    "validation": ("clean_val_key_list.txt", CLEAN_LABELS),
    "test": ("clean_test_key_list.txt", CLEAN_LABELS),
}
"""List of keys and file of labels of each split."""
FILES = (NAMES, NOISY_LABELS, CLEAN_LABELS, *(keys for keys, _ in SPLITS.values()))
"""All lists."""


class Clothing1M(Source):
    """Clothing1M, read from the distributor's lists."""

    name = "clothing1m"
    title = "Clothing1M"
    licence = "given by its authors on request, for research"
    classes: ClassVar[int] = 14
    train_size: ClassVar[int] = 1_000_000
    validation_size: ClassVar[int] = 14_313
    """Number of validation samples, whose labels were checked."""
    test_size: ClassVar[int] = 10_526
    """Number of test samples, whose labels were checked."""
    true_labels = False
    validation = True
    from_files = True
    layout = f"{FOLDER}/ with {', '.join(FILES)} and images/0 to images/9 (or 0 to 9)"
    offered = "its authors, https://github.com/Cysu/noisy_label"

    def read(self, data_dir: Path) -> Dataset:
        """Read the lists, and look up the pictures that they name."""
        root = _root(data_dir)
        names = read_texts(root / NAMES)
        if len(names) != self.classes:
            raise DataError(
                f"{root / NAMES} names {len(names)} classes, the dataset has {self.classes}"
            )
        return Dataset(
            name=self.name,
            classes=tuple(names),
            train=_split(root, "train", self.train_size, self.classes),
            test=_split(root, "test", self.test_size, self.classes),
            validation=_split(root, "validation", self.validation_size, self.classes),
            true_labels=False,
        )

    def signature(self, data_dir: Path) -> str:
        """Return the names, sizes and times of the lists, and where the pictures are."""
        root = _root(data_dir)
        states = [(name, (root / name).stat()) for name in FILES]
        lines = [f"{name}/{state.st_size}/{state.st_mtime_ns}" for name, state in states]
        place = "in images/" if (root / "images").is_dir() else "beside the lists"
        return "\n".join([str(root.resolve()), place, *lines])


def _root(data_dir: Path) -> Path:
    root = data_dir / FOLDER
    for name in FILES:
        if not (root / name).is_file():
            raise DataError(
                f"clothing1m is not in {data_dir.absolute()} (no {FOLDER}/{name}): ask its authors "
                "for it, https://github.com/Cysu/noisy_label, unpack it there, or name the folder "
                f"that holds {FOLDER}/ with --data-dir"
            )
    return root


def _split(root: Path, name: str, size: int, classes: int) -> Split:
    keys_file, labels_file = (root / file for file in SPLITS[name])
    keys = read_names(keys_file)
    if len(keys) != size:
        raise DataError(f"{keys_file} has {len(keys)} keys, the dataset {size}: get it again")
    labels = _labels_of(keys, keys_file, labels_file, classes)
    return Split(Pictures.of(root, _picture_names(root, keys), RESIZE), labels)


def _labels_of(
    keys: list[bytes], keys_file: Path, labels_file: Path, classes: int
) -> NDArray[np.int64]:
    names, values = read_pairs(labels_file, classes)
    labels = dict(zip(names, values.tolist(), strict=True))
    try:
        return np.fromiter((labels[key] for key in keys), dtype=np.int64, count=len(keys))
    except KeyError as error:
        missing = next(n for n, key in enumerate(keys, start=1) if key not in labels)
        raise DataError(
            f"{keys_file}:{missing}: {keys[missing - 1].decode('utf-8', 'backslashreplace')} has "
            f"no label in {labels_file.name}"
        ) from error


def _picture_names(root: Path, keys: list[bytes]) -> list[bytes]:
    """Return the names of the pictures, relative to the folder of the dataset.

    Keys begin with images/; many copies of the dataset have the content of that folder one level
    up.
    """
    if (root / "images").is_dir():
        return keys
    return [key.removeprefix(PREFIX) for key in keys]
