"""Registry of datasets: each dataset has its own file, and its class is listed in `SOURCES`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.datasets import cache
from trainables.datasets.animal10n import Animal10N
from trainables.datasets.base import Dataset, Progress, Source, Split
from trainables.datasets.cifar import Cifar10, Cifar100
from trainables.datasets.cifar_human import Cifar10N, Cifar100N
from trainables.datasets.clothing1m import Clothing1M
from trainables.datasets.digits import Digits
from trainables.datasets.folder import Folder
from trainables.datasets.npz import Npz
from trainables.datasets.picture_folder import PictureFolder
from trainables.datasets.pictures import Pictures
from trainables.datasets.webvision import MiniWebVision
from trainables.errors import DataError, FieldError, NalError, suggest
from trainables.extensions import (
    entry_points_of,
    extension_class,
    is_extension,
    location_in_extension,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        *(Digits(), Cifar10(), Cifar100(), Cifar10N(), Cifar100N()),
        *(Animal10N(), Clothing1M(), MiniWebVision()),
        *(Folder(), PictureFolder(), Npz()),
    )
}
"""All datasets of the package, by the name that studies use."""


def source_of(name: str) -> Source:
    """Return the dataset source with the given name.

    Args:
        name: name of the dataset in studies.

    Raises:
        FieldError: if no dataset has this name; the message suggests the nearest name.
        CodeError: if the dataset comes from outside the package and its class lacks a required
            attribute.
    """
    if is_extension(name):
        return extension_class("dataset", name, Source)()  # type: ignore[type-abstract]
    if name not in SOURCES:
        known_names = [*SOURCES, *entry_points_of("dataset")]
        raise FieldError("dataset", f"unknown dataset '{name}': {suggest(name, known_names)}")
    return SOURCES[name]


def load(name: str, data_dir: Path, cache_dir: Path | None) -> Dataset:
    """Read a dataset from its files, or from the cache of decoded arrays.

    Args:
        name: name of the dataset in studies.
        data_dir: folder that contains the files of the dataset.
        cache_dir: folder in which decoded arrays are stored and from which they are memory-mapped;
            None decodes the files into memory and writes nothing.

    Raises:
        FieldError: if no dataset has this name.
        DataError: if files are missing, incomplete or damaged.
        HomeError: if the cache cannot be written.
    """
    source = source_of(name)
    try:
        if cache_dir is None:
            return source.read(data_dir)
        return cache.load(source, data_dir, cache_dir)
    except NalError:
        raise
    except Exception as error:
        location = location_in_extension(error)
        if not location:
            raise
        raise DataError(f"{location}: {type(error).__name__}: {error}") from error


def list_training_files(name: str, dataset: Dataset, data_dir: Path) -> Sequence[str] | None:
    """Return the file names of a dataset's training samples; None if the samples are not files.

    Args:
        name: name of the dataset in studies.
        dataset: the dataset, as read from `data_dir`.
        data_dir: folder that contains the files of the dataset.

    Returns:
        Paths below the folder of the training samples, in the order of the samples.

    Raises:
        DataError: if the files cannot be listed.
    """
    images = dataset.train.images
    if isinstance(images, Pictures):
        return [images.name(position) for position in range(len(images))]
    return source_of(name).list_files(data_dir)


def download_missing(name: str, data_dir: Path, progress: Progress) -> None:
    """Download the files of a dataset that are missing in the data folder.

    A dataset that cannot be downloaded is left as it is.

    Args:
        name: name of the dataset in studies.
        data_dir: folder that contains the files of the dataset.
        progress: function that is called after each downloaded block.

    Raises:
        FieldError: if no dataset has this name.
        DataError: if the download fails, or the folder cannot be written.
    """
    source_of(name).fetch(data_dir, progress)


__all__ = [
    "SOURCES",
    "Dataset",
    "Progress",
    "Source",
    "Split",
    "download_missing",
    "list_training_files",
    "load",
    "source_of",
]
