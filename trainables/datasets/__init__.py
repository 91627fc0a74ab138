"""Datasets: one file each. List a new one in `SOURCES`."""

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
from trainables.datasets.webvision import MiniWebVision
from trainables.errors import DataError, FieldError, NalError, suggest
from trainables.extensions import announced, extension_class, is_extension, place_in_code

if TYPE_CHECKING:
    from pathlib import Path

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        *(Digits(), Cifar10(), Cifar100(), Cifar10N(), Cifar100N()),
        *(Animal10N(), Clothing1M(), MiniWebVision()),
        *(Folder(), PictureFolder(), Npz()),
    )
}
"""All datasets, by name."""


def source_of(name: str) -> Source:
    """Return the declaration of the dataset of a name.

    Raises:
        FieldError: if there is none; the message suggests the nearest name.
        CodeError: if the dataset comes from outside the package and is not complete.
    """
    if is_extension(name):
        return extension_class("dataset", name, Source)()  # type: ignore[type-abstract]
    if name not in SOURCES:
        known = [*SOURCES, *announced("dataset")]
        raise FieldError("dataset", f"unknown dataset '{name}': {suggest(name, known)}")
    return SOURCES[name]


def load(name: str, data_dir: Path, cache_dir: Path | None) -> Dataset:
    """Read a dataset.

    Args:
        name: name of the dataset in `SOURCES`.
        data_dir: data folder, which contains its files.
        cache_dir: folder in which decoded arrays are stored, to be mapped from there; None decodes
            into memory and writes nothing.

    Raises:
        FieldError: if there is no dataset of that name.
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
        place = place_in_code(error)
        if not place:
            raise
        raise DataError(f"{place}: {type(error).__name__}: {error}") from error


def ensure(name: str, data_dir: Path, progress: Progress) -> None:
    """Download the files of a dataset that are missing in the data folder.

    A dataset that cannot be downloaded is left as it is.

    Raises:
        FieldError: if there is no dataset of that name.
        DataError: if the download fails, or the folder cannot be written.
    """
    source_of(name).fetch(data_dir, progress)


__all__ = ["SOURCES", "Dataset", "Progress", "Source", "Split", "ensure", "load", "source_of"]
