"""ANIMAL-10N: pictures of five pairs of animals that people confuse, labelled by people.

H. Song, M. Kim and J.-G. Lee, SELFIE: Refurbishing Unclean Samples for Robust Deep Learning, ICML
2019. About 8 % of the labels are wrong, but it is not known which. It is distributed as pictures,
whose file names begin with their labels, and as binary records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import file_status, list_visible, printable
from trainables.datasets.folder import decode_all
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "animal10n"
"""Folder of the dataset in the data folder."""
RAW = {"train": "training", "test": "testing"}
"""Folder of the pictures of each split."""
BINARY = {"train": "data_batch_*.bin", "test": "test_batch.bin"}
"""Pattern of the binary files of each split."""
CLASSES = (
    *("cat", "lynx", "wolf", "coyote", "cheetah"),
    *("jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig"),
)
SITE = "https://dm.kaist.ac.kr/datasets/animal-10n"


class Animal10N(Source):
    """ANIMAL-10N, as pictures or as binary records."""

    name = "animal10n"
    title = "ANIMAL-10N"
    licence = "for research alone; see its site"
    classes = len(CLASSES)
    train_size = 50_000
    test_size: ClassVar[int] = 5_000
    """Number of test samples."""
    image = (3, 64, 64)
    true_labels = False
    layout = (
        f"{FOLDER}/ with training/ and testing/ full of <label>_<name>.jpg, or with "
        "data_batch_1.bin and so on and test_batch.bin"
    )
    offered = SITE

    def read(self, data_dir: Path) -> Dataset:
        """Decode the pictures, or read the records where there are no pictures."""
        root = _root(data_dir)
        read_split = _read_pictures if _has_pictures(root) else _read_binary
        sizes = {"train": self.train_size, "test": self.test_size}
        splits = {split: read_split(root, split) for split in sizes}
        for split, size in sizes.items():
            if len(splits[split]) != size:
                raise DataError(
                    f"{root} has {len(splits[split])} pictures to {split}, the dataset has {size}: "
                    "unpack it again, all of it"
                )
        return Dataset(self.name, CLASSES, splits["train"], splits["test"], true_labels=False)

    def signature(self, data_dir: Path) -> str:
        """Return the paths, sizes and times of all files."""
        root = _root(data_dir)
        files_of = _pictures if _has_pictures(root) else _binaries
        paths = [root.resolve(), *(path for split in RAW for path in files_of(root, split))]
        states = [(path, file_status(path)) for path in paths]
        return "\n".join(
            f"{printable(path)}/{state.st_size}/{state.st_mtime_ns}" for path, state in states
        )

    def list_files(self, data_dir: Path) -> tuple[str, ...]:
        """Return the names of the training pictures, or the numbers of the records."""
        root = _root(data_dir)
        if not _has_pictures(root):
            return tuple(
                f"{path.name} record {number}"
                for path in _binaries(root, "train")
                for number in range(path.stat().st_size // RECORD.itemsize)
            )
        return tuple(printable(path.relative_to(data_dir)) for path in _pictures(root, "train"))


RECORD = np.dtype([("id", "<i4"), ("label", "<i4"), ("image", np.uint8, Animal10N.image)])
"""Binary record: an id, a label and the colour planes."""


def _root(data_dir: Path) -> Path:
    root = data_dir / FOLDER
    if not _has_pictures(root) and not _binaries(root, "train"):
        raise DataError(
            f"animal10n is not in {data_dir.absolute()} (looked for {FOLDER}/training/ and "
            f"{FOLDER}/data_batch_1.bin): get it from {SITE}, unpack it there, or name the folder "
            f"that holds {FOLDER}/ with --data-dir"
        )
    return root


def _has_pictures(root: Path) -> bool:
    return (root / RAW["train"]).is_dir()


def _pictures(root: Path, split: str) -> list[Path]:
    """List a split's pictures by name, so that the order depends on no file system."""
    return list_visible(root / RAW[split])


def _binaries(root: Path, split: str) -> list[Path]:
    """List a split's binary files; the tenth one comes after the ninth."""
    return sorted(root.glob(BINARY[split]), key=lambda path: (len(path.name), path.name))


def _read_pictures(root: Path, split: str) -> Split:
    paths = _pictures(root, split)
    labels = np.array([_label(path) for path in paths], dtype=np.int64)
    images, unreadable = decode_all(paths, Animal10N.image[1:], "animal10n has")
    return Split(images, labels, unreadable)


def _label(path: Path) -> int:
    text = path.name.partition("_")[0]
    if not (text.isascii() and text.isdigit()) or int(text) >= len(CLASSES):
        raise DataError(
            f"{printable(path)}: a picture's name begins with its label, 0 to {len(CLASSES) - 1}, "
            "and _"
        )
    return int(text)


def _read_binary(root: Path, split: str) -> Split:
    images, labels = [], []
    for path in _binaries(root, split):
        size = path.stat().st_size
        if size == 0 or size % RECORD.itemsize:
            raise DataError(
                f"{path} has {size} bytes, no multiple of a record's {RECORD.itemsize}: it is cut "
                "short, unpack it again"
            )
        content = np.fromfile(path, dtype=RECORD)
        invalid = np.flatnonzero((content["label"] < 0) | (content["label"] >= len(CLASSES)))
        if len(invalid):
            label = content["label"][invalid[0]]
            raise DataError(
                f"{path}: record {invalid[0]} has label {label}, outside 0..{len(CLASSES) - 1}"
            )
        images.append(content["image"])
        labels.append(content["label"].astype(np.int64))
    if not images:
        raise DataError(f"{root} has no {BINARY[split]}: unpack the dataset again")
    return Split(np.concatenate(images), np.concatenate(labels))
