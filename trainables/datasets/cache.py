"""Decoded arrays, kept as .npy files that every run on the machine maps and shares."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.errors import DataError, HomeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1
"""Raised when the same files would be decoded or stored otherwise."""
_SPLITS = ("train", "test")


def load(source: Source, data_dir: Path, cache_dir: Path) -> Dataset:
    """Map the cached arrays of a dataset; decode and store them first where there are none.

    Of several processes that ask at once, one decodes and the others wait for it.

    Raises:
        DataError: the dataset is missing or not what it claims to be.
        HomeError: the cache cannot be written.
    """
    folder = cache_dir / f"{source.name}-{_key(source, data_dir)}"
    cached = _mapped(source, folder)
    if cached is not None:
        return cached
    with _locked(folder):
        cached = _mapped(source, folder)
        if cached is not None:
            return cached
        dataset = source.read(data_dir)
        with _explained(folder):
            _clear(folder)
            _store(dataset, folder)
    stored = _mapped(source, folder)
    if stored is None:
        raise HomeError(f"{folder} cannot be read back: check the disk")
    return stored


def _key(source: Source, data_dir: Path) -> str:
    text = f"{FORMAT}/{source.name}/{source.signature(data_dir)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _mapped(source: Source, folder: Path) -> Dataset | None:
    """Open a stored dataset; None where there is none, or a damaged one."""
    try:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        # Copy-on-write: torch takes writable arrays alone, and no write reaches the file.
        train, test = (
            Split(
                images=np.load(folder / f"{split}_images.npy", mmap_mode="c"),
                labels=np.load(folder / f"{split}_labels.npy", mmap_mode="c"),
            )
            for split in _SPLITS
        )
        return Dataset(source.name, tuple(meta["classes"]), train, test, digest=meta["digest"])
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def _store(dataset: Dataset, folder: Path) -> None:
    """Write all files under a temporary name, then rename the folder into place."""
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    partial.mkdir()
    try:
        for name, split in zip(_SPLITS, (dataset.train, dataset.test), strict=True):
            _save(partial / f"{name}_images.npy", split.images)
            _save(partial / f"{name}_labels.npy", split.labels)
        meta = {"classes": list(dataset.classes), "digest": dataset.digest}
        with (partial / "meta.json").open("w") as file:
            json.dump(meta, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())


def _clear(folder: Path) -> None:
    """Remove a damaged folder and what killed processes have left of it."""
    for remains in (folder, *folder.parent.glob(f".{folder.name}.*")):
        if remains.is_dir():
            shutil.rmtree(remains)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with _explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name}.lock").open("w")
    with lock:
        with _explained(folder):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeError(f"cannot write the cache {folder.parent}: {error.strerror}") from error
