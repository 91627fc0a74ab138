"""Clothing1M: a million pictures from web shops, labelled by the words around them.

T. Xiao, T. Xia, Y. Yang, C. Huang and X. Wang, Learning from Massive Noisy Labeled Data for Image
Classification, CVPR 2015. About 38.5 % of the labels are wrong; which is not known. The 47,570
pictures whose labels were checked for training are not used, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.lists import read_names, read_pairs, read_texts
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FOLDER = "clothing1m"
PREFIX = b"images/"
RESIZE = 256
"""The short side, as in the public code, dataloader_clothing1m.py."""
NAMES = "category_names_eng.txt"
NOISY_LABELS, CLEAN_LABELS = "noisy_label_kv.txt", "clean_label_kv.txt"


@dataclass(frozen=True, slots=True)
class Lists:
    """What the distributor's lists hold; tests describe small ones.

    Attributes:
        classes: number of classes K.
        train: samples of noisy_train_key_list.txt.
        validation: of clean_val_key_list.txt.
        test: of clean_test_key_list.txt.
    """

    classes: int
    train: int
    validation: int
    test: int


CLOTHING1M = Lists(classes=14, train=1_000_000, validation=14_313, test=10_526)

SPLITS = {
    "train": ("noisy_train_key_list.txt", NOISY_LABELS),
    "validation": ("clean_val_key_list.txt", CLEAN_LABELS),
    "test": ("clean_test_key_list.txt", CLEAN_LABELS),
}
FILES = (NAMES, NOISY_LABELS, CLEAN_LABELS, *(keys for keys, _ in SPLITS.values()))


def source(lists: Lists) -> Source:
    """Return the dataset that lists describe."""
    return Source(
        name="clothing1m",
        title="Clothing1M",
        classes=lists.classes,
        train_size=lists.train,
        image=None,
        read=partial(_read, lists),
        signature=_signature,
        licence="given by its authors on request, for research",
        true_labels=False,
        validation=True,
        from_files=True,
        layout=f"{FOLDER}/ with {', '.join(FILES)} and images/0 to images/9 (or 0 to 9)",
        offered="its authors, https://github.com/Cysu/noisy_label",
    )


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


def _signature(data_dir: Path) -> str:
    root = _root(data_dir)
    states = [(name, (root / name).stat()) for name in FILES]
    lines = [f"{name}/{state.st_size}/{state.st_mtime_ns}" for name, state in states]
    where = "in images/" if (root / "images").is_dir() else "beside the lists"
    return "\n".join([str(root.resolve()), where, *lines])


def _read(lists: Lists, data_dir: Path) -> Dataset:
    root = _root(data_dir)
    classes = read_texts(root / NAMES)
    if len(classes) != lists.classes:
        raise DataError(
            f"{root / NAMES} names {len(classes)} classes, the dataset has {lists.classes}"
        )
    splits = {name: _split(root, name, getattr(lists, name), lists.classes) for name in SPLITS}
    return Dataset(
        name="clothing1m",
        classes=tuple(classes),
        train=splits["train"],
        test=splits["test"],
        validation=splits["validation"],
        true_labels=False,
    )


def _split(root: Path, name: str, size: int, classes: int) -> Split:
    keys_file, labels_file = (root / file for file in SPLITS[name])
    keys = read_names(keys_file)
    if len(keys) != size:
        raise DataError(f"{keys_file} has {len(keys)} keys, the dataset {size}: get it again")
    labels = _labels_of(keys, keys_file, labels_file, classes)
    return Split(Pictures.of(root, _placed(root, keys), RESIZE), labels)


def _labels_of(
    keys: list[bytes], keys_file: Path, labels_file: Path, classes: int
) -> NDArray[np.int64]:
    names, values = read_pairs(labels_file, classes)
    known = dict(zip(names, values.tolist(), strict=True))
    try:
        return np.fromiter((known[key] for key in keys), dtype=np.int64, count=len(keys))
    except KeyError as error:
        missing = next(n for n, key in enumerate(keys, start=1) if key not in known)
        raise DataError(
            f"{keys_file}:{missing}: {keys[missing - 1].decode('utf-8', 'backslashreplace')} has "
            f"no label in {labels_file.name}"
        ) from error


def _placed(root: Path, keys: list[bytes]) -> list[bytes]:
    """Return the names of the pictures in the folder.

    Keys begin with images/; many copies of the dataset have what is in that folder one level up.
    """
    if (root / "images").is_dir():
        return keys
    return [key.removeprefix(PREFIX) for key in keys]
