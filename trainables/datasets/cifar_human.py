"""CIFAR-10N and CIFAR-100N: CIFAR with labels that people assigned to its training images.

J. Wei, Z. Zhu, H. Cheng, T. Liu, G. Niu and Y. Liu, Learning with Noisy Labels Revisited: A Study
Using Real-World Human Annotations, ICLR 2022.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.datasets.base import Source
from trainables.datasets.cifar import Cifar, Cifar10, Cifar100
from trainables.datasets.class_folders import file_stamp
from trainables.datasets.unpickle import load_arrays
from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset, Progress

CLEAN_LABELS_KEY = "clean_label"
"""Key of the original CIFAR labels in an annotation file."""
SITE = "https://github.com/UCSC-REAL/cifar-10-100n"
"""Repository in which the annotation files are published."""
LICENCE = f"{Cifar.licence}; annotations CC BY-NC 4.0"
LEGACY_PICKLE_COUNT = 4
"""Number of consecutive pickles in a file written by torch before 1.6; the last of them contains
the saved object."""


class HumanCifar(Source):
    """Base class of CIFAR datasets with labels that people assigned to the training images.

    A subclass declares the CIFAR dataset and the annotation file, which contains the labels.
    """

    cifar: ClassVar[Cifar]
    """CIFAR dataset whose training images people labelled."""
    annotation_file: ClassVar[str]
    """Name of the file that contains the labels assigned by people."""
    label_keys: ClassVar[Mapping[str, str]]
    """Key of each set of labels in the annotation file, by the name of the set in scenarios."""
    licence = LICENCE
    image_shape = Cifar.image_shape
    train_size = Cifar.train_size

    def read(self, data_dir: Path) -> Dataset:
        """Read the images and the annotation file; check that both have the same sample order.

        Raises:
            DataError: if files are missing or damaged, or if the order of the samples differs.
        """
        path = self._annotation_path(data_dir)
        dataset = self.cifar.read(data_dir)
        return replace(dataset, name=self.name, annotations=self._read_annotations(path, dataset))

    def signature(self, data_dir: Path) -> str:
        """Return the signature of CIFAR, and path, size and time of the annotation file."""
        stamp = file_stamp(self._annotation_path(data_dir))
        return f"{self.cifar.signature(data_dir)}\n{stamp}"

    def fetch(self, data_dir: Path, progress: Progress) -> None:
        """Download the images; the annotation file must be present, since it has no download.

        Raises:
            DataError: if the annotation file is missing, or the download fails.
        """
        self._annotation_path(data_dir)  # check before downloading: images alone are useless
        self.cifar.fetch(data_dir, progress)

    def describe_checksums(self, data_dir: Path) -> str:
        """Return a sentence that says which files have been verified by published MD5s."""
        return self.cifar.describe_checksums(data_dir)

    def _annotation_path(self, data_dir: Path) -> Path:
        path = data_dir / self.annotation_file
        if not path.is_file():
            raise DataError(
                f"{self.name}: no {self.annotation_file} in {data_dir.absolute()}: download the "
                "file "
                f"from {SITE} (data/) and put it into this folder"
            )
        return path

    def _read_annotations(self, path: Path, dataset: Dataset) -> dict[str, NDArray[np.int64]]:
        try:
            content = _load_torch_file(path)
        except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} is not a file of label arrays ({error}): download this file again"
            ) from error
        if not isinstance(content, dict):
            raise DataError(f"{path} is not a file of label arrays: download this file again")
        clean_labels = _read_labels(path, content, CLEAN_LABELS_KEY, dataset)
        differing = np.flatnonzero(clean_labels != dataset.train.labels)
        if len(differing):
            raise DataError(
                f"{path}: {CLEAN_LABELS_KEY} differs from the labels of the images "
                f"({len(differing)} "
                f"differ, the first is sample {differing[0]}, counted from 0): use the images of "
                f"{self.cifar.archive.file_name} in their order, not class folders"
            )
        return {
            name: _read_labels(path, content, key, dataset) for name, key in self.label_keys.items()
        }


class Cifar10N(HumanCifar):
    """CIFAR-10 with labels by three people for each training image, and combinations of these."""

    name = "cifar10n"
    title = "CIFAR-10N"
    class_count = Cifar10.class_count
    cifar = Cifar10()
    annotation_file = "CIFAR-10_human.pt"
    label_keys: ClassVar[Mapping[str, str]] = {
        "aggre": "aggre_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
        "worse": "worse_label",
    }
    annotation_names = tuple(label_keys)
    layout = f"{Cifar10.layout}; {annotation_file}"
    distributor = f"{Cifar10.distributor}; {SITE}, data/{annotation_file}"


class Cifar100N(HumanCifar):
    """CIFAR-100 with the label of one person for each training image."""

    name = "cifar100n"
    title = "CIFAR-100N"
    class_count = Cifar100.class_count
    cifar = Cifar100()
    annotation_file = "CIFAR-100_human.pt"
    label_keys: ClassVar[Mapping[str, str]] = {"noisy": "noisy_label"}
    annotation_names = tuple(label_keys)
    layout = f"{Cifar100.layout}; {annotation_file}"
    distributor = f"{Cifar100.distributor}; {SITE}, data/{annotation_file}"


def _read_labels(
    path: Path, content: dict[object, object], key: str, dataset: Dataset
) -> NDArray[np.int64]:
    stored = np.asarray(content.get(key, ()))
    if stored.shape != (len(dataset.train),) or not np.issubdtype(stored.dtype, np.integer):
        raise DataError(
            f"{path}: '{key}' must contain {len(dataset.train)} integers, one for each training "
            "image"
        )
    labels = stored.astype(np.int64)
    if labels.min() < 0 or labels.max() >= len(dataset.classes):
        raise DataError(f"{path}: '{key}' has a label outside 0..{len(dataset.classes) - 1}")
    return labels


def _load_torch_file(path: Path) -> object:
    """Read a file that `torch.save` wrote, without torch and without executing code in the file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return load_arrays(archive.read(member))
    stream = io.BytesIO(path.read_bytes())
    saved: object = None
    for _ in range(LEGACY_PICKLE_COUNT):
        saved = load_arrays(stream)
    return saved
