"""Cache of decoded images and file indices, as .npy files that all runs map and share."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError, HomeError
from trainables.locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FORMAT = 2
"""Version of the stored form; increase it when the same files are decoded or stored differently."""
_INDEX = ("names", "ends", "sizes")
"""Attributes of `Pictures` that are stored as arrays."""


def load(source: Source, data_dir: Path, cache_dir: Path) -> Dataset:
    """Map the cached arrays of a dataset; decode and store them first if they are missing.

    If several processes load it at once, one decodes and the others wait.

    Raises:
        DataError: if files are missing, incomplete or damaged.
        HomeError: if the cache cannot be written.
    """
    folder = cache_dir / f"{source.name}-{_key(source, data_dir)}"
    cached = _open_dataset(source, folder)
    if cached is not None:
        return cached
    with _locked(folder):
        cached = _open_dataset(source, folder)
        if cached is not None:
            return cached
        dataset = source.read(data_dir)
        with _home_errors(folder):
            _clear(folder)
            _store(dataset, folder)
    stored = _open_dataset(source, folder)
    if stored is None:
        raise HomeError(f"{folder} cannot be read back: check the disk")
    return stored


def _key(source: Source, data_dir: Path) -> str:
    text = f"{FORMAT}/{source.name}/{source.signature(data_dir)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _open_dataset(source: Source, folder: Path) -> Dataset | None:
    """Open a stored dataset; return None if it is missing or damaged."""
    try:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        splits = {name: _open_split(folder, name, split) for name, split in meta["splits"].items()}
        test, *others = meta["tests"]
        return Dataset(
            name=source.name,
            classes=tuple(meta["classes"]),
            train=splits["train"],
            test=splits[test],
            digest=meta["digest"],
            other_tests={name: splits[name] for name in others},
            test_name=test,
            validation=splits.get("validation"),
            annotations={
                name: _map(folder / f"annotation_{name}.npy") for name in meta["annotations"]
            },
            top=tuple(meta["top"]),
            true_labels=source.true_labels,
            own=meta["own"],
        )
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def _open_split(folder: Path, name: str, meta: dict[str, Any]) -> Split:
    images: NDArray[np.uint8] | Pictures
    if meta["root"] is None:
        images = _map(folder / f"{name}_images.npy")
    else:
        names, ends, sizes = (_map(folder / f"{name}_{array}.npy") for array in _INDEX)
        images = Pictures(Path(meta["root"]), names, ends, sizes, meta["resize"])
    labels = _map(folder / f"{name}_labels.npy")
    return Split(
        images, labels, {int(position): error for position, error in meta["unreadable"].items()}
    )


def _map(path: Path) -> NDArray[Any]:
    # Copy-on-write: torch accepts only writable arrays, and no write reaches the file.
    array: NDArray[Any] = np.load(path, mmap_mode="c")
    return array


def _store(dataset: Dataset, folder: Path) -> None:
    """Write all files into a temporary folder, then rename it into place."""
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    partial.mkdir()
    try:
        for name, split in dataset.splits.items():
            _save_split(partial, name, split)
        for name, labels in dataset.annotations.items():
            _save(partial / f"annotation_{name}.npy", labels)
        with (partial / "meta.json").open("w") as file:
            json.dump(_meta(dataset), file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _meta(dataset: Dataset) -> dict[str, Any]:
    splits = {}
    for name, split in dataset.splits.items():
        pictures = split.images if isinstance(split.images, Pictures) else None
        splits[name] = {
            "root": None if pictures is None else str(pictures.root),
            "resize": None if pictures is None else pictures.resize,
            "unreadable": dict(split.unreadable),
        }
    return {
        "classes": list(dataset.classes),
        "digest": dataset.digest,
        "splits": splits,
        "tests": list(dataset.tests),
        "annotations": list(dataset.annotations),
        "top": list(dataset.top),
        "own": dataset.own,
    }


def _save_split(folder: Path, name: str, split: Split) -> None:
    if isinstance(split.images, Pictures):
        for array in _INDEX:
            _save(folder / f"{name}_{array}.npy", getattr(split.images, array))
    else:
        _save(folder / f"{name}_images.npy", split.images)
    _save(folder / f"{name}_labels.npy", split.labels)


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())


def _clear(folder: Path) -> None:
    """Remove a damaged folder and the temporary folders of killed processes."""
    for leftover in (folder, *folder.parent.glob(f".{folder.name}.*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with _home_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder.with_name(f"{folder.name}.lock")))
        yield


@contextmanager
def _home_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeError(f"cannot write the cache {folder.parent}: {error.strerror}") from error
