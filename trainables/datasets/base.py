"""Base class of datasets, and what else the Python file of a dataset imports.

This module does not import torch, so that the command line starts fast.
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
"""Function that reports the progress of a download, given the number of bytes received so far and
the total number of bytes (None if the server does not send the total)."""

MAIN_TEST = "test"
"""Default name of the main test split of a dataset."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of one split of a dataset.

    Attributes:
        images: small images as an array, uint8, shape (n, C, H, W), which may be memory-mapped and
            must not be modified; large images as `Pictures`, files that are decoded on demand.
        labels: class indices from 0 to K - 1, int64, shape (n,).
        unreadable: error message of each picture that could not be decoded, by its position in the
            split; the pixels of such a picture are 0.
    """

    images: NDArray[np.uint8] | Pictures
    labels: NDArray[np.int64]
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Dataset with its splits, class names and labels.

    Attributes:
        name: name of the dataset in studies.
        classes: names of the classes, in the order of their labels.
        train: training split.
        test: main test split, evaluated only by runs whose spec names "test".
        digest: SHA-256 of the images and labels of all splits; computed if it is empty.
        other_test_splits: further test splits, by name.
        test_name: name of the main test split.
        validation: split with checked labels, used neither for training nor for testing; None if
            the dataset has none.
        annotations: sets of labels that people assigned to the training samples, by name; each
            set is an array, int64, shape (n,).
        top_k: values of k for which top-k accuracy is measured on the test splits.
        has_true_labels: whether the training labels are known to be correct.
        user_owned: whether the user supplied the data. Then the labels count as correct in
            scenarios that add noise to them; in other scenarios, nothing is known about them.

    Raises:
        DataError: if images and labels differ in number, a split is empty, there are fewer than two
            classes, or a label is not in 0..K-1.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    digest: str = ""
    other_test_splits: Mapping[str, Split] = field(default_factory=dict)
    test_name: str = MAIN_TEST
    validation: Split | None = None
    annotations: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    top_k: tuple[int, ...] = (1,)
    has_true_labels: bool = True
    user_owned: bool = False

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(
                f"{self.name}: number of classes is {len(self.classes)}, at least 2 are needed"
            )
        for name, split in self.splits.items():
            _check_split(f"{self.name}, {name} split", split, len(self.classes))
        if not self.digest:
            object.__setattr__(self, "digest", content_digest(*self.splits.values()))

    @property
    def test_splits(self) -> dict[str, Split]:
        """All test splits by name, the main one first."""
        return {self.test_name: self.test, **self.other_test_splits}

    @property
    def splits(self) -> dict[str, Split]:
        """All splits by name, in the order in which they enter the digest."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **self.test_splits, **validation}

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Shape (C, H, W) of every image; None if images are files of different sizes."""
        if isinstance(self.train.images, Pictures):
            return None
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


class Source(ABC):
    """Base class of dataset sources: what is known of a dataset, and how to read its files.

    To add a dataset, write a subclass that declares `name`, `title` and `licence` and overrides
    `read` and `signature`. All other attributes and methods are optional:

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
    """Name of the dataset in studies, as in `dataset: cifar10`."""
    title: ClassVar[str]
    """Name of the dataset in tables."""
    licence: ClassVar[str]
    """Licence or publication of the dataset, shown in messages."""
    class_count: ClassVar[int | None] = None
    """Number of classes K; None if it is unknown until the files are read."""
    train_size: ClassVar[int | None] = None
    """Published number of training samples; None if it is unknown until the files are read."""
    image_shape: ClassVar[tuple[int, int, int] | None] = None
    """Shape (C, H, W) of every image; None if it is unknown until the files are read."""
    has_true_labels: ClassVar[bool] = True
    """Whether the training labels are known to be correct."""
    annotation_names: ClassVar[tuple[str, ...]] = ()
    """Names of the sets of labels that people assigned to the training samples."""
    has_validation: ClassVar[bool] = False
    """Whether the dataset has a validation split with checked labels."""
    has_picture_files: ClassVar[bool] = False
    """Whether the images are picture files of any size, decoded on demand. The recipe of a study
    must then set `crop_size`, the side in pixels of the square that is cut out for the network."""
    layout: ClassVar[str] = ""
    """Description of the files that the data folder must contain, shown in messages."""
    distributor: ClassVar[str] = ""
    """Who distributes the dataset, with the URL, shown in messages."""

    @abstractmethod
    def read(self, data_dir: Path) -> Dataset:
        """Read and decode the dataset.

        Args:
            data_dir: folder that contains the files of the dataset.

        Raises:
            DataError: if files are missing, incomplete or damaged; the message names the files and
                what to do.
        """

    @abstractmethod
    def signature(self, data_dir: Path) -> str:
        """Return a text that changes whenever the files of the dataset change.

        The cache stores the decoded dataset under a hash of this text. Every command computes the
        text at its start, so build it from names, sizes and modification times of files, as
        `file_stamp` does, and not from their content.

        Args:
            data_dir: folder that contains the files of the dataset.

        Raises:
            DataError: if files are missing; the message names the files and what to do.
        """

    @property
    def is_downloadable(self) -> bool:
        """Whether the dataset can be downloaded, that is, whether the class overrides `fetch`."""
        return type(self).fetch is not Source.fetch

    def fetch(self, data_dir: Path, progress: Progress) -> None:  # noqa: B027 - optional
        """Download the files of the dataset that are missing in the data folder.

        Args:
            data_dir: data folder; it is created if it does not exist.
            progress: function that is called after each downloaded block.

        Raises:
            DataError: if the download fails, or the folder cannot be written.
        """

    def list_files(self, data_dir: Path) -> tuple[str, ...] | None:  # noqa: ARG002
        """Return the file names of the training samples, or None if samples are not files.

        Label files and `suspects` name samples by these names.

        Returns:
            Paths below the folder of the training samples, in the order of the samples.
        """
        return None

    def describe_files(self, data_dir: Path) -> str | None:  # noqa: ARG002
        """Return what the data folder has, if it need not be the files of this dataset.

        The result is None if the files are known by their names or checksums.
        """
        return None

    def describe_checksums(self, data_dir: Path) -> str | None:  # noqa: ARG002
        """Return a sentence that says which files have been verified by published checksums.

        The result is None if the distributor publishes no checksums.
        """
        return None


def content_digest(*splits: Split) -> str:
    """Return one SHA-256 of the images and labels of all given splits.

    Of images in arrays, shapes and pixels are hashed: an archive and class folders with the same
    pixels in the same order have the same digest. Of picture files, names and sizes in bytes are
    hashed, since reading all files would take hours.
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


def _check_split(split_title: str, split: Split, class_count: int) -> None:
    images = split.images
    if not isinstance(images, Pictures) and (images.dtype != np.uint8 or images.ndim != 4):
        raise DataError(
            f"{split_title}: images must be uint8 of shape (n, C, H, W), got {images.dtype} of "
            "shape "
            f"{images.shape}"
        )
    if len(split.images) != len(split.labels):
        raise DataError(f"{split_title}: {len(split.images)} images but {len(split.labels)} labels")
    if not len(split):
        raise DataError(f"{split_title}: the split has no images")
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= class_count:
        label = low if low < 0 else high
        raise DataError(f"{split_title}: label {label} is outside 0..{class_count - 1}")
