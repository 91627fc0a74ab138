"""Clothing1M: a million pictures from web shops, labelled automatically by the surrounding text.

T. Xiao, T. Xia, Y. Yang, C. Huang and X. Wang, Learning from Massive Noisy Labeled Data for Image
Classification, CVPR 2015. About 38.5 % of the labels are wrong; which ones is unknown. As in the
NAL paper, the 47,570 training pictures with checked labels are not used.
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
"""Name of the dataset's folder in the data folder."""
KEY_PREFIX = b"images/"
"""Folder name at the beginning of every key. A key is the name of a picture file in the lists."""
SHORT_SIDE = 256
"""Length in pixels to which the short side of a picture is resized before a square is cut out.
Source: public code of NAL, dataloader_clothing1m.py."""
CLASS_NAMES_FILE = "category_names_eng.txt"
"""Name of the file that lists the class names."""
NOISY_LABELS_FILE, CLEAN_LABELS_FILE = "noisy_label_kv.txt", "clean_label_kv.txt"
"""Names of the files with noisy labels and with checked labels; a line has a key and a label."""
SPLIT_FILES = {
    "train": ("noisy_train_key_list.txt", NOISY_LABELS_FILE),
    "validation": ("clean_val_key_list.txt", CLEAN_LABELS_FILE),
    "test": ("clean_test_key_list.txt", CLEAN_LABELS_FILE),
}
"""Names of two files for each split: the list of its keys, and the labels by key."""
LIST_FILES = (
    CLASS_NAMES_FILE,
    NOISY_LABELS_FILE,
    CLEAN_LABELS_FILE,
    *(keys for keys, _ in SPLIT_FILES.values()),
)
"""Names of all text files of the dataset: class names, labels and keys."""


class Clothing1M(Source):
    """The dataset Clothing1M, in the files of its distributor."""

    name = "clothing1m"
    title = "Clothing1M"
    licence = "available from the authors on request, for research"
    class_count: ClassVar[int] = 14
    train_size: ClassVar[int] = 1_000_000
    validation_size: ClassVar[int] = 14_313
    """Number of validation samples, whose labels were checked."""
    test_size: ClassVar[int] = 10_526
    """Number of test samples, whose labels were checked."""
    has_true_labels = False
    has_validation = True
    has_picture_files = True
    layout = f"{FOLDER}/ with {', '.join(LIST_FILES)} and images/0 to images/9 (or 0 to 9)"
    distributor = "the authors, https://github.com/Cysu/noisy_label"

    def read(self, data_dir: Path) -> Dataset:
        """Read the lists of keys and labels, and index the listed pictures.

        Raises:
            DataError: if files are missing or damaged.
        """
        root = _root(data_dir)
        names = read_texts(root / CLASS_NAMES_FILE)
        if len(names) != self.class_count:
            raise DataError(
                f"{root / CLASS_NAMES_FILE} names {len(names)} classes, the dataset has "
                f"{self.class_count}"
            )
        return Dataset(
            name=self.name,
            classes=tuple(names),
            train=_read_split(root, "train", self.train_size, self.class_count),
            test=_read_split(root, "test", self.test_size, self.class_count),
            validation=_read_split(root, "validation", self.validation_size, self.class_count),
            has_true_labels=False,
        )

    def signature(self, data_dir: Path) -> str:
        """Return the names, sizes and modification times of the text files, and the folder."""
        root = _root(data_dir)
        statuses = [(name, (root / name).stat()) for name in LIST_FILES]
        lines = [f"{name}/{status.st_size}/{status.st_mtime_ns}" for name, status in statuses]
        picture_location = "in images/" if (root / "images").is_dir() else "beside the lists"
        return "\n".join([str(root.resolve()), picture_location, *lines])


def _root(data_dir: Path) -> Path:
    root = data_dir / FOLDER
    for name in LIST_FILES:
        if not (root / name).is_file():
            raise DataError(
                f"clothing1m is not in {data_dir.absolute()} (no {FOLDER}/{name}): request the "
                "dataset "
                "from its authors, https://github.com/Cysu/noisy_label, and unpack it in this "
                "folder, "
                f"or name the folder that contains {FOLDER}/ with --data-dir"
            )
    return root


def _read_split(root: Path, name: str, sample_count: int, class_count: int) -> Split:
    keys_file, labels_file = (root / file for file in SPLIT_FILES[name])
    keys = read_names(keys_file)
    if len(keys) != sample_count:
        raise DataError(
            f"{keys_file} has {len(keys)} keys, the dataset has {sample_count}: download this file "
            "again"
        )
    labels = _labels_of(keys, keys_file, labels_file, class_count)
    return Split(Pictures.from_names(root, _picture_names(root, keys), SHORT_SIDE), labels)


def _labels_of(
    keys: list[bytes], keys_file: Path, labels_file: Path, class_count: int
) -> NDArray[np.int64]:
    labelled_keys, labels = read_pairs(labels_file, class_count)
    label_of = dict(zip(labelled_keys, labels.tolist(), strict=True))
    try:
        return np.fromiter((label_of[key] for key in keys), dtype=np.int64, count=len(keys))
    except KeyError as error:
        line_number = next(n for n, key in enumerate(keys, start=1) if key not in label_of)
        raise DataError(
            f"{keys_file}:{line_number}: "
            f"{keys[line_number - 1].decode('utf-8', 'backslashreplace')} has "
            f"no label in {labels_file.name}"
        ) from error


def _picture_names(root: Path, keys: list[bytes]) -> list[bytes]:
    """Return the file names of the pictures, relative to the folder of the dataset.

    All keys begin with "images/". In many copies of the dataset, the pictures are not in images/
    but beside the lists; then this prefix is removed.
    """
    if (root / "images").is_dir():
        return keys
    return [key.removeprefix(KEY_PREFIX) for key in keys]
