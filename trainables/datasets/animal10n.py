"""ANIMAL-10N: pictures of five pairs of animals that people confuse, labelled by people.

H. Song, M. Kim and J.-G. Lee, SELFIE: Refurbishing Unclean Samples for Robust Deep Learning, ICML
2019. About 8 % of the labels are wrong; which is not known. It is offered as pictures, whose file
names begin with their labels, and as binary records.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import shown, status, visible
from trainables.datasets.folder import decode_all
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "animal10n"
RAW = {"train": "training", "test": "testing"}
BINARY = {"train": "data_batch_*.bin", "test": "test_batch.bin"}
CLASSES = (
    *("cat", "lynx", "wolf", "coyote", "cheetah"),
    *("jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig"),
)
SITE = "https://dm.kaist.ac.kr/datasets/animal-10n"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the distributor offers; tests describe less.

    Attributes:
        train: samples of the training split.
        test: of the test split.
        side: of the square pictures, in pixels.
    """

    train: int
    test: int
    side: int


ANIMAL10N = Sizes(train=50_000, test=5_000, side=64)


def source(sizes: Sizes) -> Source:
    """Return the dataset of these sizes."""
    return Source(
        name="animal10n",
        title="ANIMAL-10N",
        classes=len(CLASSES),
        train_size=sizes.train,
        image=(3, sizes.side, sizes.side),
        read=partial(_read, sizes),
        signature=_signature,
        licence="for research alone; see its site",
        true_labels=False,
        list_files=_list_files,
        layout=f"{FOLDER}/ with training/ and testing/ full of <label>_<name>.jpg, or with "
        "data_batch_1.bin and so on and test_batch.bin",
        offered=SITE,
    )


def _root(data_dir: Path) -> Path:
    root = data_dir / FOLDER
    if not (root / RAW["train"]).is_dir() and not _binary(root, "train"):
        raise DataError(
            f"animal10n is not in {data_dir.absolute()} (looked for {FOLDER}/training/ and "
            f"{FOLDER}/data_batch_1.bin): get it from {SITE}, unpack it there, or name the folder "
            f"that holds {FOLDER}/ with --data-dir"
        )
    return root


def _binary(root: Path, split: str) -> list[Path]:
    return sorted(root.glob(BINARY[split]), key=lambda path: (len(path.name), path.name))


def _pictures(root: Path, split: str) -> list[Path]:
    """List a split's pictures by name, so that a sample's position depends on no file system."""
    return visible(root / RAW[split])


def _signature(data_dir: Path) -> str:
    root = _root(data_dir)
    files_of = _pictures if (root / RAW["train"]).is_dir() else _binary
    found = [root.resolve(), *(path for split in RAW for path in files_of(root, split))]
    states = [(path, status(path)) for path in found]
    return "\n".join(f"{shown(path)}/{s.st_size}/{s.st_mtime_ns}" for path, s in states)


def _list_files(data_dir: Path) -> tuple[str, ...]:
    root = _root(data_dir)
    if not (root / RAW["train"]).is_dir():
        return tuple(
            f"{path.name} record {number}"
            for path in _binary(root, "train")
            for number in range(path.stat().st_size // _record(ANIMAL10N).itemsize)
        )
    return tuple(shown(path.relative_to(data_dir)) for path in _pictures(root, "train"))


def _read(sizes: Sizes, data_dir: Path) -> Dataset:
    root = _root(data_dir)
    read = _read_raw if (root / RAW["train"]).is_dir() else _read_binary
    splits = {split: read(sizes, root, split) for split in RAW}
    for split, found in splits.items():
        wanted = getattr(sizes, split)
        if len(found) != wanted:
            raise DataError(
                f"{root} has {len(found)} pictures to {split}, the dataset has {wanted}: unpack it "
                "again, all of it"
            )
    return Dataset("animal10n", CLASSES, splits["train"], splits["test"], true_labels=False)


def _read_raw(sizes: Sizes, root: Path, split: str) -> Split:
    paths = _pictures(root, split)
    labels = np.array([_label(path) for path in paths], dtype=np.int64)
    images, unreadable = decode_all(paths, (sizes.side, sizes.side), "animal10n has")
    return Split(images, labels, unreadable)


def _label(path: Path) -> int:
    text = path.name.partition("_")[0]
    if not (text.isascii() and text.isdigit()) or int(text) >= len(CLASSES):
        raise DataError(
            f"{shown(path)}: a picture's name begins with its label, 0 to {len(CLASSES) - 1}, and _"
        )
    return int(text)


def _record(sizes: Sizes) -> np.dtype[np.void]:
    return np.dtype(
        [("id", "<i4"), ("label", "<i4"), ("image", np.uint8, (3, sizes.side, sizes.side))]
    )


def _read_binary(sizes: Sizes, root: Path, split: str) -> Split:
    """Read records of an id, a label and the colour planes, each of four or so many bytes."""
    record = _record(sizes)
    images, labels = [], []
    for path in _binary(root, split):
        size = path.stat().st_size
        if size == 0 or size % record.itemsize:
            raise DataError(
                f"{path} has {size} bytes, no multiple of a record's {record.itemsize}: it is cut "
                "short, unpack it again"
            )
        content = np.fromfile(path, dtype=record)
        wrong = np.flatnonzero((content["label"] < 0) | (content["label"] >= len(CLASSES)))
        if len(wrong):
            label = content["label"][wrong[0]]
            raise DataError(
                f"{path}: record {wrong[0]} has label {label}, outside 0..{len(CLASSES) - 1}"
            )
        images.append(content["image"])
        labels.append(content["label"].astype(np.int64))
    if not images:
        raise DataError(f"{root} has no {BINARY[split]}: unpack the dataset again")
    return Split(np.concatenate(images), np.concatenate(labels))
