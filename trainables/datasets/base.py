"""What every dataset offers. NumPy only: the driver reads labels and hashes without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Progress = Callable[[int, int | None], None]
"""Told of a download: bytes so far, and bytes in all where the server says."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and true labels.

    Attributes:
        images: uint8, shape (n, C, H, W); may be mapped from a file, then not to be written to.
        labels: int64, shape (n,), in 0..K-1.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in memory (or mapped): its classes and its two splits.

    Attributes:
        name: the word used in studies.
        classes: names, in the order of their labels.
        train: the samples that runs train on.
        test: looked at only by runs whose spec evaluates "test".
        digest: `content_digest` of the splits; computed where it is not given.

    Raises:
        DataError: images and labels differ in number, a split is empty, or a label is not in
            0..K-1.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    digest: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(
                f"{self.name}: it has {len(self.classes)} class, at least 2 are needed to learn"
            )
        for word, split in (("train", self.train), ("test", self.test)):
            _check(f"{self.name}, {word} split", split, len(self.classes))
        if not self.digest:
            object.__setattr__(self, "digest", content_digest(self.train, self.test))

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a dataset before it is read.

    Attributes:
        name: the word used in studies.
        title: as tables print it.
        classes: number of classes K; None where only the files tell.
        train_size: samples of the training split as published; None where only the files tell.
        image: shape (C, H, W); None where only the files tell.
        read: from a data folder to the dataset, decoding it; a DataError says what is missing.
        signature: from a data folder to a text that changes when its files do: names the cache;
            a DataError says what is missing.
        licence: where it comes from, for people.
        fetch: downloads into a data folder what is missing there and may be downloaded; None where
            nothing can be.
        list_files: from a data folder to the names of the training split's files, in the order of
            its samples; None where samples are no files.
        true_labels: whether its training labels are known to be the true ones.
    """

    name: str
    title: str
    classes: int | None
    train_size: int | None
    image: tuple[int, int, int] | None
    read: Callable[[Path], Dataset]
    signature: Callable[[Path], str]
    licence: str
    fetch: Callable[[Path, Progress], None] | None = None
    list_files: Callable[[Path], tuple[str, ...]] | None = None
    true_labels: bool = True


def content_digest(train: Split, test: Split) -> str:
    """Return the SHA-256 of shapes, images and labels of both splits.

    The form of the files does not enter: an archive and class folders with the same pixels in the
    same order give the same digest.
    """
    content = hashlib.sha256()
    for split in (train, test):
        content.update(str(split.images.shape).encode())
        content.update(np.ascontiguousarray(split.images).data)
        content.update(split.labels.astype("<i8").tobytes())
    return content.hexdigest()


def _check(where: str, split: Split, classes: int) -> None:
    if len(split.images) != len(split.labels):
        raise DataError(f"{where}: {len(split.images)} images but {len(split.labels)} labels")
    if not len(split):
        raise DataError(f"{where}: it has no images")
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise DataError(f"{where}: label {wrong} is outside 0..{classes - 1}")
