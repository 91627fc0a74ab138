"""What every dataset offers. NumPy only: the driver reads labels and hashes without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.pictures import Pictures
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Progress = Callable[[int, int | None], None]
"""Told of a download: bytes so far, and bytes in all where the server says."""


MAIN_TEST = "test"
"""Name of the test split that a dataset has by itself."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and the labels that come with them.

    Attributes:
        images: small ones: uint8, shape (n, C, H, W), which may be mapped from a file and then are
            not to be written to; large ones: their files, read when they are needed.
        labels: int64, shape (n,), in 0..K-1.
        unreadable: what is wrong with pictures that could not be decoded, by position; their pixels
            are 0.
    """

    images: NDArray[np.uint8] | Pictures
    labels: NDArray[np.int64]
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset whose labels are in memory, and whose images are there, mapped or in files.

    Attributes:
        name: the word used in studies.
        classes: names, in the order of their labels.
        train: the samples that runs train on.
        test: the main test split, looked at only by runs whose spec evaluates "test".
        digest: `content_digest` of the splits; computed where it is not given.
        other_tests: further test splits, by name.
        test_name: of the main test split where there are others.
        validation: a split with checked labels that is neither trained nor tested on; None where
            the dataset has none.
        annotations: what people said of the training samples, by name; int64, shape (n,) each.
        top: the k of the top-k accuracies that are measured on its test splits.
        true_labels: whether the training labels are known to be the true ones.
        own: whether it is the user's: then its labels count as true where noise is laid over them,
            and nothing is known of them where none is.

    Raises:
        DataError: images and labels differ in number, a split is empty, or a label is not in
            0..K-1.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    digest: str = ""
    other_tests: Mapping[str, Split] = field(default_factory=dict)
    test_name: str = MAIN_TEST
    validation: Split | None = None
    annotations: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    top: tuple[int, ...] = (1,)
    true_labels: bool = True
    own: bool = False

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(
                f"{self.name}: it has {len(self.classes)} class, at least 2 are needed to learn"
            )
        for word, split in self.splits.items():
            _check(f"{self.name}, {word} split", split, len(self.classes))
        if not self.digest:
            object.__setattr__(self, "digest", content_digest(*self.splits.values()))

    @property
    def tests(self) -> dict[str, Split]:
        """All test splits by name, the main one first."""
        return {self.test_name: self.test, **self.other_tests}

    @property
    def splits(self) -> dict[str, Split]:
        """All splits by name, in the order in which the digest has them."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **self.tests, **validation}

    @property
    def image(self) -> tuple[int, int, int] | None:
        """Shape (C, H, W) of an image; None where they are files of any size."""
        if isinstance(self.train.images, Pictures):
            return None
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
        annotations: names of the sets of labels that people gave its training samples.
        validation: whether it has a split with checked labels to validate on.
        from_files: whether its images are files of any size, read when they are needed: a study's
            recipe then says which part of them a network sees.
        sums: from a data folder to which published checksums its files have, for people, once they
            have been read; None where none are published.
        layout: what is expected in a data folder, for people.
        offered: where its distributor offers it, for people.
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
    annotations: tuple[str, ...] = ()
    validation: bool = False
    from_files: bool = False
    sums: Callable[[Path], str] | None = None
    layout: str = ""
    offered: str = ""


def content_digest(*splits: Split) -> str:
    """Return the SHA-256 of images and labels of all splits.

    Of small images shapes and pixels enter, and the form of the files does not: an archive and
    class folders with the same pixels in the same order give the same digest. Of pictures that stay
    files, names and sizes in bytes enter, since reading all of them would take hours.
    """
    content = hashlib.sha256()
    for split in splits:
        if isinstance(split.images, Pictures):
            content.update(split.images.fingerprint())
        else:
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
