"""Datasets: where each lies, how it is read, its splits. One file each; list a new one below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.datasets import animal10n, cache, cifar, cifar_human, clothing1m, webvision
from trainables.datasets.base import Dataset, Progress, Source, Split
from trainables.datasets.digits import DIGITS
from trainables.datasets.folder import FOLDER
from trainables.datasets.npz import NPZ
from trainables.datasets.picture_folder import PICTURES
from trainables.errors import FieldError, suggest

if TYPE_CHECKING:
    from pathlib import Path

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        DIGITS,
        cifar.source(cifar.CIFAR10),
        cifar.source(cifar.CIFAR100),
        cifar_human.source(cifar_human.CIFAR10N),
        cifar_human.source(cifar_human.CIFAR100N),
        animal10n.source(animal10n.ANIMAL10N),
        clothing1m.source(clothing1m.CLOTHING1M),
        webvision.source(webvision.MINI),
        FOLDER,
        PICTURES,
        NPZ,
    )
}


def source_of(name: str) -> Source:
    """Return what is known of the dataset of that name.

    Raises:
        FieldError: there is none; names the nearest.
    """
    if name not in SOURCES:
        raise FieldError("dataset", f"unknown dataset '{name}': {suggest(name, SOURCES)}")
    return SOURCES[name]


def load(name: str, data_dir: Path, cache_dir: Path | None) -> Dataset:
    """Read a dataset.

    Args:
        name: from `SOURCES`.
        data_dir: where its files are.
        cache_dir: where decoded arrays are kept and mapped from; None decodes in memory and writes
            nothing.

    Raises:
        FieldError: an unknown name.
        DataError: it is missing, incomplete or not what it claims to be.
        HomeError: the cache cannot be written.
    """
    source = source_of(name)
    return source.read(data_dir) if cache_dir is None else cache.load(source, data_dir, cache_dir)


def ensure(name: str, data_dir: Path, progress: Progress) -> None:
    """Download into the data folder what is missing there and may be downloaded.

    Raises:
        FieldError: an unknown name.
        DataError: no place gives it, or the folder cannot be written.
    """
    source = source_of(name)
    if source.fetch is not None:
        source.fetch(data_dir, progress)


__all__ = ["SOURCES", "Dataset", "Progress", "Source", "Split", "ensure", "load", "source_of"]
