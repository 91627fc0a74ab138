"""ANIMAL-10N: pictures of ten animals that form five easily confused pairs, labelled by people.

H. Song, M. Kim and J.-G. Lee, SELFIE: Refurbishing Unclean Samples for Robust Deep Learning, ICML
2019. About 8 % of the labels are wrong; which ones is unknown. The dataset is distributed in two
forms: as pictures whose file names begin with the label, and as binary records.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import file_status, list_visible, printable
from trainables.datasets.folder import decode_all
from trainables.errors import DataError

FOLDER = "animal10n"
"""Name of the dataset's folder in the data folder."""
PICTURE_FOLDERS = {"train": "training", "test": "testing"}
"""Name of the folder of each split, in the distribution as pictures."""
BINARY_PATTERNS = {"train": "data_batch_*.bin", "test": "test_batch.bin"}
"""File name pattern of each split, in the distribution as binary records."""
CLASS_NAMES = (
    *("cat", "lynx", "wolf", "coyote", "cheetah"),
    *("jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig"),
)
"""Names of the classes, in the order of their labels."""
SITE = "https://dm.kaist.ac.kr/datasets/animal-10n"
"""Site of the distributor."""


class Animal10N(Source):
    """ANIMAL-10N, as pictures or as binary records."""

    name = "animal10n"
    title = "ANIMAL-10N"
    licence = "for research only; see the site of the dataset"
    class_count = len(CLASS_NAMES)
    train_size = 50_000
    test_size: ClassVar[int] = 5_000
    """Number of test samples."""
    image_shape = (3, 64, 64)
    has_true_labels = False
    layout = (
        f"{FOLDER}/ with pictures training/<label>_<name>.jpg and testing/<label>_<name>.jpg, or "
        "with binary files data_batch_1.bin, data_batch_2.bin, ... and test_batch.bin"
    )
    distributor = SITE

    def read(self, data_dir: Path) -> Dataset:
        """Decode the pictures, or read the binary records if there are no pictures.

        Raises:
            DataError: if files are missing, incomplete or damaged.
        """
        root = _root(data_dir)
        read_split = _read_pictures if _has_pictures(root) else _read_binary
        sizes = {"train": self.train_size, "test": self.test_size}
        splits = {split: read_split(root, split) for split in sizes}
        for split, size in sizes.items():
            if len(splits[split]) != size:
                raise DataError(
                    f"{root} has {len(splits[split])} {split} pictures, the dataset has {size}: "
                    "unpack the whole dataset again"
                )
        return Dataset(
            self.name, CLASS_NAMES, splits["train"], splits["test"], has_true_labels=False
        )

    def signature(self, data_dir: Path) -> str:
        """Return the paths, sizes and modification times of all files of the dataset."""
        root = _root(data_dir)
        list_split = _list_pictures if _has_pictures(root) else _list_binary_files
        paths = [
            root.resolve(),
            *(path for split in PICTURE_FOLDERS for path in list_split(root, split)),
        ]
        statuses = [(path, file_status(path)) for path in paths]
        return "\n".join(
            f"{printable(path)}/{status.st_size}/{status.st_mtime_ns}" for path, status in statuses
        )

    def list_files(self, data_dir: Path) -> tuple[str, ...]:
        """Return the name of each training picture, or file and number of each training record."""
        root = _root(data_dir)
        if not _has_pictures(root):
            return tuple(
                f"{path.name} record {number}"
                for path in _list_binary_files(root, "train")
                for number in range(path.stat().st_size // RECORD_DTYPE.itemsize)
            )
        return tuple(printable(Path(path.name)) for path in _list_pictures(root, "train"))


RECORD_DTYPE = np.dtype(
    [("id", "<i4"), ("label", "<i4"), ("image", np.uint8, Animal10N.image_shape)]
)
"""Layout of a binary record: an id, a label and the three colour planes."""


def _root(data_dir: Path) -> Path:
    root = data_dir / FOLDER
    if not _has_pictures(root) and not _list_binary_files(root, "train"):
        raise DataError(
            f"animal10n is not in {data_dir.absolute()} (looked for {FOLDER}/training/ and "
            f"{FOLDER}/data_batch_1.bin): download the dataset from {SITE} and unpack it in this "
            f"folder, or name the folder that contains {FOLDER}/ with --data-dir"
        )
    return root


def _has_pictures(root: Path) -> bool:
    return (root / PICTURE_FOLDERS["train"]).is_dir()


def _list_pictures(root: Path, split: str) -> list[Path]:
    """Return the paths of a split's pictures, sorted by name."""
    return list_visible(root / PICTURE_FOLDERS[split])


def _list_binary_files(root: Path, split: str) -> list[Path]:
    """Return the paths of a split's binary files, sorted by number, so that 10 follows 9."""
    return sorted(root.glob(BINARY_PATTERNS[split]), key=lambda path: (len(path.name), path.name))


def _read_pictures(root: Path, split: str) -> Split:
    paths = _list_pictures(root, split)
    labels = np.array([_label_of(path) for path in paths], dtype=np.int64)
    images, unreadable = decode_all(paths, Animal10N.image_shape[1:], "animal10n has")
    return Split(images, labels, unreadable)


def _label_of(path: Path) -> int:
    label = path.name.partition("_")[0]
    if not (label.isascii() and label.isdigit()) or int(label) >= len(CLASS_NAMES):
        raise DataError(
            f"{printable(path)}: the file name must begin with the label, 0 to "
            f"{len(CLASS_NAMES) - 1}, "
            "and an underscore"
        )
    return int(label)


def _read_binary(root: Path, split: str) -> Split:
    images, labels = [], []
    for path in _list_binary_files(root, split):
        size = path.stat().st_size
        if size == 0 or size % RECORD_DTYPE.itemsize:
            raise DataError(
                f"{path} has {size} bytes, which is not a multiple of the record size, "
                f"{RECORD_DTYPE.itemsize} bytes: the file is incomplete, unpack the dataset again"
            )
        records = np.fromfile(path, dtype=RECORD_DTYPE)
        invalid = np.flatnonzero((records["label"] < 0) | (records["label"] >= len(CLASS_NAMES)))
        if len(invalid):
            label = records["label"][invalid[0]]
            raise DataError(
                f"{path}: record {invalid[0]} (counted from 0) has label {label}, outside "
                f"0..{len(CLASS_NAMES) - 1}"
            )
        images.append(records["image"])
        labels.append(records["label"].astype(np.int64))
    if not images:
        raise DataError(f"{root} has no file {BINARY_PATTERNS[split]}: unpack the dataset again")
    return Split(np.concatenate(images), np.concatenate(labels))
