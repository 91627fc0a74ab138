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

CLEAN = "clean_label"
"""Key of CIFAR's own labels in a file of annotations."""
SITE = "https://github.com/UCSC-REAL/cifar-10-100n"
LICENCE = f"{Cifar.licence}; annotations CC BY-NC 4.0"
LEGACY_PICKLES = 4
"""Number of pickles, one after the other, in a file of torch before 1.6; the last one holds the
values."""


class HumanCifar(Source):
    """CIFAR with labels that people assigned to its training images.

    A subclass specifies the images and the file of annotations.
    """

    images: ClassVar[Cifar]
    """Dataset whose images were annotated."""
    file: ClassVar[str]
    """Name of the file of annotations."""
    keys: ClassVar[Mapping[str, str]]
    """Key of each set of labels in that file, by the name that scenarios use."""
    licence = LICENCE
    image = Cifar.image
    train_size = Cifar.train_size

    def read(self, data_dir: Path) -> Dataset:
        """Read the images and the annotations, and check that they belong together."""
        path = self._path(data_dir)
        dataset = self.images.read(data_dir)
        return replace(dataset, name=self.name, annotations=self._annotations(path, dataset))

    def signature(self, data_dir: Path) -> str:
        """Return the signature of the images and the stamp of the file of annotations."""
        stamp = file_stamp(self._path(data_dir))
        return f"{self.images.signature(data_dir)}\n{stamp}"

    def fetch(self, data_dir: Path, progress: Progress) -> None:
        """Download the images; the annotations must be there already."""
        self._path(data_dir)  # without it, the images would be downloaded in vain
        self.images.fetch(data_dir, progress)

    def checksums(self, data_dir: Path) -> str:
        """Return a sentence on the md5s of the images."""
        return self.images.checksums(data_dir)

    def _path(self, data_dir: Path) -> Path:
        path = data_dir / self.file
        if not path.is_file():
            raise DataError(
                f"{self.name}: no {self.file} in {data_dir.absolute()}: get it from "
                f"{SITE} (data/) and put it there"
            )
        return path

    def _annotations(self, path: Path, dataset: Dataset) -> dict[str, NDArray[np.int64]]:
        try:
            content = _unpickle(path)
        except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} is not a file of label arrays ({error}): get it again"
            ) from error
        if not isinstance(content, dict):
            raise DataError(f"{path} is not a file of label arrays: get it again")
        clean = _labels(path, content, CLEAN, dataset)
        differing = np.flatnonzero(clean != dataset.train.labels)
        if len(differing):
            raise DataError(
                f"{path}: its {CLEAN} is not that of the images ({len(differing)} differ, the "
                f"first at {differing[0]}): it goes with the order of {self.images.archive.file}, "
                "not of class folders"
            )
        return {name: _labels(path, content, key, dataset) for name, key in self.keys.items()}


class Cifar10N(HumanCifar):
    """CIFAR-10 with three labels of people for each training image, and two aggregates."""

    name = "cifar10n"
    title = "CIFAR-10N"
    classes = Cifar10.classes
    images = Cifar10()
    file = "CIFAR-10_human.pt"
    keys: ClassVar[Mapping[str, str]] = {
        "aggre": "aggre_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
        "worse": "worse_label",
    }
    annotations = tuple(keys)
    layout = f"{Cifar10.layout}; {file}"
    offered = f"{Cifar10.offered}; {SITE}, data/{file}"


class Cifar100N(HumanCifar):
    """CIFAR-100 with one label of people for each training image."""

    name = "cifar100n"
    title = "CIFAR-100N"
    classes = Cifar100.classes
    images = Cifar100()
    file = "CIFAR-100_human.pt"
    keys: ClassVar[Mapping[str, str]] = {"noisy": "noisy_label"}
    annotations = tuple(keys)
    layout = f"{Cifar100.layout}; {file}"
    offered = f"{Cifar100.offered}; {SITE}, data/{file}"


def _labels(
    path: Path, content: dict[object, object], key: str, dataset: Dataset
) -> NDArray[np.int64]:
    values = np.asarray(content.get(key, ()))
    if values.shape != (len(dataset.train),) or not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"{path}: '{key}' is not {len(dataset.train)} integers, one for each training image"
        )
    labels = values.astype(np.int64)
    if labels.min() < 0 or labels.max() >= len(dataset.classes):
        raise DataError(f"{path}: '{key}' has a label outside 0..{len(dataset.classes) - 1}")
    return labels


def _unpickle(path: Path) -> object:
    """Read a file of `torch.save`, without torch and without running any code of the file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return load_arrays(archive.read(member))
    stream = io.BytesIO(path.read_bytes())
    values: object = None
    for _ in range(LEGACY_PICKLES):
        values = load_arrays(stream)
    return values
