"""Base class of datasets, and everything that the file of a dataset needs.

NumPy only: the driver reads labels and digests without torch.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.datasets.class_folders import file_stamp
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "MAIN_TEST",
    "DataError",
    "Dataset",
    "Pictures",
    "Progress",
    "Source",
    "Split",
    "content_digest",
    "file_stamp",
]

Progress = Callable[[int, int | None], None]
"""Function that is called during a download, with the bytes received so far and the bytes in total;
None if the server does not say the total."""

MAIN_TEST = "test"
"""Name of the main test split of a dataset that does not name it."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: small images as an array, uint8, shape (n, C, H, W), which may be mapped from a file
            and must not be written to; large ones as files that are read when they are needed.
        labels: labels in 0..K-1, int64, shape (n,).
        unreadable: error messages of pictures that could not be decoded, by position; their pixels
            are 0.
    """

    images: NDArray[np.uint8] | Pictures
    labels: NDArray[np.int64]
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Dataset with its labels in memory, and its images in memory, mapped or in files.

    Attributes:
        name: name in studies.
        classes: names of the classes, in the order of their labels.
        train: training split.
        test: main test split, evaluated only by runs whose spec names "test".
        digest: `content_digest` of the splits; computed if it is empty.
        other_tests: further test splits, by name.
        test_name: name of the main test split.
        validation: split with checked labels, used neither for training nor for testing; None if
            the dataset has none.
        annotations: labels that people assigned to the training samples, by name; int64, shape (n,)
            each.
        top: values of k for which top-k accuracy is measured on the test splits.
        true_labels: whether the training labels are known to be the true ones.
        own: whether the dataset is the user's own. Its labels count as the true ones under label
            noise; without noise nothing is known about them.

    Raises:
        DataError: if images and labels differ in number, a split is empty, there are fewer than two
            classes, or a label is not in 0..K-1.
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
        for name, split in self.splits.items():
            _check(f"{self.name}, {name} split", split, len(self.classes))
        if not self.digest:
            object.__setattr__(self, "digest", content_digest(*self.splits.values()))

    @property
    def tests(self) -> dict[str, Split]:
        """All test splits by name, the main one first."""
        return {self.test_name: self.test, **self.other_tests}

    @property
    def splits(self) -> dict[str, Split]:
        """All splits by name, in the order in which they enter the digest."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **self.tests, **validation}

    @property
    def image(self) -> tuple[int, int, int] | None:
        """Shape (C, H, W) of an image; None if images are files of any size."""
        if isinstance(self.train.images, Pictures):
            return None
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


class Source(ABC):
    """A dataset as it is declared, before any file of it is read.

    To add a dataset, write a subclass that declares `name`, `title` and `licence` and overrides
    `read` and `signature`. The other declarations default to "only the files tell" or "has none",
    and the other methods to "not available":

        class Mine(Source):
            name = "mine"
            title = "my pictures"
            licence = "my own"
            layout = "mine.npz"

            def signature(self, data_dir: Path) -> str:
                return file_stamp(data_dir / "mine.npz")

            def read(self, data_dir: Path) -> Dataset:
                with np.load(data_dir / "mine.npz") as file:
                    train = Split(file["x"], file["y"])
                    test = Split(file["x_test"], file["y_test"])
                return Dataset(self.name, ("cat", "dog"), train, test)
    """

    name: ClassVar[str]
    """Name in studies: `dataset: cifar10`."""
    title: ClassVar[str]
    """Name in tables."""
    licence: ClassVar[str]
    """Licence or publication, for messages."""
    classes: ClassVar[int | None] = None
    """Number of classes K; None if only the files tell."""
    train_size: ClassVar[int | None] = None
    """Number of training samples as published; None if only the files tell."""
    image: ClassVar[tuple[int, int, int] | None] = None
    """Shape (C, H, W) of an image; None if only the files tell."""
    true_labels: ClassVar[bool] = True
    """Whether the training labels are known to be the true ones."""
    annotations: ClassVar[tuple[str, ...]] = ()
    """Names of the sets of labels that people assigned to the training samples."""
    validation: ClassVar[bool] = False
    """Whether there is a validation split with checked labels."""
    from_files: ClassVar[bool] = False
    """Whether the images are files of any size, which are read when they are needed. A study's
    recipe then says which part of them a network sees."""
    layout: ClassVar[str] = ""
    """Files that are expected in the data folder, for messages."""
    offered: ClassVar[str] = ""
    """Place where the distributor offers the dataset, for messages."""

    @abstractmethod
    def read(self, data_dir: Path) -> Dataset:
        """Read and decode the dataset.

        Raises:
            DataError: if files are missing, incomplete or damaged; the message says which, and
                what to do.
        """

    @abstractmethod
    def signature(self, data_dir: Path) -> str:
        """Return a text that changes whenever the files of the dataset change.

        It names the decoded copy in the cache, and is computed at every start: use names, sizes and
        times of files, as `file_stamp` does, not their content.

        Raises:
            DataError: if files are missing; the message says which, and what to do.
        """

    @property
    def downloads(self) -> bool:
        """Whether the dataset can be downloaded: whether `fetch` is overridden."""
        return type(self).fetch is not Source.fetch

    def fetch(self, data_dir: Path, progress: Progress) -> None:  # noqa: B027 - optional
        """Download the files that are missing in the data folder.

        Args:
            data_dir: data folder; it is created if it does not exist.
            progress: function to call after each block.

        Raises:
            DataError: if the download fails, or the folder cannot be written.
        """

    def list_files(self, data_dir: Path) -> tuple[str, ...] | None:  # noqa: ARG002
        """Return the names of the training files, in the order of the samples.

        Names are relative to the data folder. None if samples are not files.
        """
        return None

    def checksums(self, data_dir: Path) -> str | None:  # noqa: ARG002
        """Return a sentence on the published checksums of files that have been read.

        None if no checksums are published.
        """
        return None


def content_digest(*splits: Split) -> str:
    """Return the SHA-256 of the images and labels of splits.

    For images in arrays it covers shapes and pixels, not the form of the files: an archive and
    class folders with the same pixels in the same order have the same digest. For pictures in files
    it covers names and sizes in bytes, since reading all of them would take hours.
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
    images = split.images
    if not isinstance(images, Pictures) and (images.dtype != np.uint8 or images.ndim != 4):
        raise DataError(
            f"{where}: images must be uint8 of shape (n, C, H, W), got {images.dtype} of shape "
            f"{images.shape}"
        )
    if len(split.images) != len(split.labels):
        raise DataError(f"{where}: {len(split.images)} images but {len(split.labels)} labels")
    if not len(split):
        raise DataError(f"{where}: it has no images")
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= classes:
        label = low if low < 0 else high
        raise DataError(f"{where}: label {label} is outside 0..{classes - 1}")
