"""CIFAR-10N and CIFAR-100N: what people said of CIFAR's training images, laid over them.

J. Wei, Z. Zhu, H. Cheng, T. Liu, G. Niu and Y. Liu, Learning with Noisy Labels Revisited: A Study
Using Real-World Human Annotations, ICLR 2022.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets import cifar
from trainables.datasets.class_folders import file_stamp
from trainables.datasets.unpickle import load_arrays
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset, Progress, Source
    from trainables.datasets.cifar import Archive

CLEAN = "clean_label"
_LEGACY_PARTS = 4
"""Pickles of a file of torch before 1.6, one after the other; the last one holds the values."""


@dataclass(frozen=True, slots=True)
class HumanLabels:
    """A file of annotations; tests describe small ones.

    Attributes:
        name: the word used in studies.
        title: as tables print it.
        file: name of the file.
        archive: the images that were annotated.
        sets: key in the file by the name that scenarios use.
    """

    name: str
    title: str
    file: str
    archive: Archive
    sets: tuple[tuple[str, str], ...]


CIFAR10N = HumanLabels(
    name="cifar10n",
    title="CIFAR-10N",
    file="CIFAR-10_human.pt",
    archive=cifar.CIFAR10,
    sets=(
        ("aggre", "aggre_label"),
        ("random1", "random_label1"),
        ("random2", "random_label2"),
        ("random3", "random_label3"),
        ("worse", "worse_label"),
    ),
)
CIFAR100N = HumanLabels(
    name="cifar100n",
    title="CIFAR-100N",
    file="CIFAR-100_human.pt",
    archive=cifar.CIFAR100,
    sets=(("noisy", "noisy_label"),),
)


def source(human: HumanLabels) -> Source:
    """Return the dataset with what people said of it."""
    images = cifar.source(human.archive)

    def read(data_dir: Path) -> Dataset:
        path = _path(human, data_dir)
        dataset = images.read(data_dir)
        annotations = _annotations(human, path, dataset)
        return replace(dataset, name=human.name, annotations=annotations)

    def signature(data_dir: Path) -> str:
        stamp = file_stamp(_path(human, data_dir))
        return f"{images.signature(data_dir)}\n{stamp}"

    def fetch(data_dir: Path, progress: Progress) -> None:
        _path(human, data_dir)  # lacking it, the images would be downloaded for nothing
        assert images.fetch is not None  # noqa: S101 - CIFAR's archives may be downloaded
        images.fetch(data_dir, progress)

    return replace(
        images,
        fetch=fetch,
        name=human.name,
        title=human.title,
        read=read,
        signature=signature,
        licence=f"{images.licence}; annotations CC BY-NC 4.0",
        annotations=tuple(name for name, _ in human.sets),
        layout=f"{images.layout}; {human.file}",
        offered=f"{images.offered}; https://github.com/UCSC-REAL/cifar-10-100n, data/{human.file}",
    )


def _path(human: HumanLabels, data_dir: Path) -> Path:
    path = data_dir / human.file
    if not path.is_file():
        raise DataError(
            f"{human.name}: no {human.file} in {data_dir.absolute()}: get it from "
            "https://github.com/UCSC-REAL/cifar-10-100n (data/) and put it there"
        )
    return path


def _annotations(human: HumanLabels, path: Path, dataset: Dataset) -> dict[str, NDArray[np.int64]]:
    try:
        content = _unpickled(path)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a file of label arrays ({error}): get it again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a file of label arrays: get it again")
    clean = _labels(path, content, CLEAN, dataset)
    differs = np.flatnonzero(clean != dataset.train.labels)
    if len(differs):
        raise DataError(
            f"{path}: its {CLEAN} is not that of the images ({len(differs)} differ, the first at "
            f"{differs[0]}): it goes with the order of {human.archive.file}, not of class folders"
        )
    return {name: _labels(path, content, key, dataset) for name, key in human.sets}


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


def _unpickled(path: Path) -> object:
    """Read what `torch.save` wrote, without torch and without calling anything it names."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return load_arrays(archive.read(member))
    stream = io.BytesIO(path.read_bytes())
    values: object = None
    for _ in range(_LEGACY_PARTS):
        values = load_arrays(stream)
    return values
