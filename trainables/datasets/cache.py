"""Cache of datasets: decoded images, or indices of picture files, in memory-mapped .npy files.

`SHA256SUMS` in the folder of a cached dataset lists the SHA-256 of every other file, as `sha256sum`
does. A machine that opens the dataset for the first time, or after a file has changed, hashes all
files. It then writes a stamp with the size, times and inode of each file, and compares only these
as long as they stay the same. A dataset whose files do not match is decoded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError, HomeError
from trainables.locks import file_lock
from trainables.run.record import write_atomically
from trainables.texts import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FORMAT_VERSION = 3
"""Version of the cache format. Increase it when files are decoded or stored differently."""
_PICTURES_ARRAYS = ("names", "ends", "sizes")
"""Attributes of `Pictures` that are stored as .npy files."""
_CHECKSUMS_FILE = "SHA256SUMS"
_META_FILE = "meta.json"
"""Name of the file that lists the SHA-256 of every other file of a cached dataset."""


def load(source: Source, data_dir: Path, cache_dir: Path) -> Dataset:
    """Return a dataset from the cache; if the cache does not have the dataset, decode and store it.

    If several processes load a dataset at once, one of them decodes the files and the others wait.
    If the cached files are damaged, the dataset is decoded again, and a line on standard error says
    so.

    Args:
        source: dataset to load.
        data_dir: folder that contains the files of the dataset.
        cache_dir: folder of the cache.

    Raises:
        DataError: if files are missing, incomplete or damaged.
        HomeError: if the cache cannot be written.
    """
    folder = cache_dir / f"{source.name}-{_cache_key(source, data_dir)}"
    dataset = _open_dataset(source, folder)
    if dataset is not None:
        return dataset
    with _locked(folder):
        dataset = _open_dataset(source, folder)
        if dataset is not None:
            return dataset
        damage = _verify(folder)
        if damage:
            sys.stderr.write(
                f"the cached dataset {visible(str(folder))} is damaged ({damage}): decoding the "
                "dataset again\n"
            )
        dataset = source.read(data_dir)
        with _convert_os_errors(folder):
            _remove_leftovers(folder)
            _store(dataset, folder)
    cached_dataset = _open_dataset(source, folder)
    if cached_dataset is None:
        raise HomeError(f"the cached dataset {folder} cannot be read after writing: check the disk")
    return cached_dataset


def _cache_key(source: Source, data_dir: Path) -> str:
    text = f"{FORMAT_VERSION}/{source.name}/{source.signature(data_dir)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _open_dataset(source: Source, folder: Path) -> Dataset | None:
    """Return the dataset stored in a cache folder; None if the folder is missing or damaged."""
    if not _is_verified(folder) and _verify(folder) is not None:
        return None
    try:
        meta: dict[str, Any] = json.loads((folder / _META_FILE).read_text())
        splits = {name: _open_split(folder, name, split) for name, split in meta["splits"].items()}
        test, *others = meta["tests"]
        return Dataset(
            name=source.name,
            classes=tuple(meta["classes"]),
            train=splits["train"],
            test=splits[test],
            digest=meta["digest"],
            other_test_splits={name: splits[name] for name in others},
            test_name=test,
            validation=splits.get("validation"),
            annotations={
                name: _memory_map(folder / f"annotation_{name}.npy") for name in meta["annotations"]
            },
            top_k=tuple(meta["top"]),
            has_true_labels=source.has_true_labels,
            user_owned=meta["own"],
        )
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def _is_verified(folder: Path) -> bool:
    """Return whether this machine has hashed all files of a folder since their last change."""
    try:
        stamp: object = json.loads(_stamp_path(folder).read_text())
        return stamp == _file_states(folder)
    except (OSError, ValueError):
        return False


def _verify(folder: Path) -> str | None:
    """Hash all files of a cached dataset; if none is damaged, write the stamp of this machine.

    Returns:
        Description of the damage; "" if the dataset is not cached at all, and None if every file
        has the listed SHA-256.
    """
    if not folder.exists():
        return ""
    try:
        states = _file_states(folder)
        checksums = _read_checksums(folder)
        names = {path.name for path in folder.iterdir() if path.suffix == ".npy"} | {_META_FILE}
        if unlisted_names := names - checksums.keys():
            return f"{_CHECKSUMS_FILE} lacks {min(unlisted_names)}"
        for name, sha256 in checksums.items():
            if _file_sha256(folder / name) != sha256:
                return f"{name} does not have its SHA-256"
    except OSError as error:
        return f"{Path(error.filename).name}: {error.strerror}"
    except ValueError as error:
        return f"{_CHECKSUMS_FILE}: {error}"
    with suppress(HomeError):  # without a stamp, the files are hashed again when they are next used
        write_atomically(_stamp_path(folder), json.dumps(states))
    return None


def _stamp_path(folder: Path) -> Path:
    return folder / f"verified-{platform.node()}.json"


def _file_states(folder: Path) -> dict[str, list[int]]:
    """Return size, times of the last changes in ns, and inode of each file with a checksum."""
    statuses = {
        name: (folder / name).stat() for name in (_CHECKSUMS_FILE, *_read_checksums(folder))
    }
    return {
        name: [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        for name, status in statuses.items()
    }


def _read_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a cached dataset, by file name, as it was stored.

    Raises:
        OSError: if the list cannot be read.
        ValueError: if a line of the list is not a SHA-256 and a file name.
    """
    checksums = {}
    for line in (folder / _CHECKSUMS_FILE).read_text().splitlines():
        sha256, name = line.split("  ")
        checksums[name] = sha256
    return checksums


def _write_checksums(folder: Path) -> None:
    lines = [f"{_file_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    write_atomically(folder / _CHECKSUMS_FILE, "".join(lines))


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_split(folder: Path, name: str, meta: dict[str, Any]) -> Split:
    images: NDArray[np.uint8] | Pictures
    if meta["root"] is None:
        images = _memory_map(folder / f"{name}_images.npy")
    else:
        names, ends, sizes = (
            _memory_map(folder / f"{name}_{array}.npy") for array in _PICTURES_ARRAYS
        )
        images = Pictures(Path(meta["root"]), names, ends, sizes, meta["resize"])
    labels = _memory_map(folder / f"{name}_labels.npy")
    return Split(
        images, labels, {int(position): error for position, error in meta["unreadable"].items()}
    )


def _memory_map(path: Path) -> NDArray[Any]:
    # Copy-on-write: torch accepts only writable arrays, and no write reaches the file.
    array: NDArray[Any] = np.load(path, mmap_mode="c")
    return array


def _store(dataset: Dataset, folder: Path) -> None:
    """Write a dataset into a temporary folder, then rename the complete folder to `folder`."""
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        for name, split in dataset.splits.items():
            _save_split(temporary, name, split)
        for name, labels in dataset.annotations.items():
            _save(temporary / f"annotation_{name}.npy", labels)
        write_atomically(temporary / _META_FILE, json.dumps(_metadata(dataset)))
        _write_checksums(temporary)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _metadata(dataset: Dataset) -> dict[str, Any]:
    """Return what `meta.json` contains: everything of a dataset except its arrays."""
    splits = {}
    for name, split in dataset.splits.items():
        pictures = split.images if isinstance(split.images, Pictures) else None
        splits[name] = {
            "root": None if pictures is None else str(pictures.root),
            "resize": None if pictures is None else pictures.short_side,
            "unreadable": dict(split.unreadable),
        }
    return {
        "classes": list(dataset.classes),
        "digest": dataset.digest,
        "splits": splits,
        "tests": list(dataset.test_splits),
        "annotations": list(dataset.annotations),
        "top": list(dataset.top_k),
        "own": dataset.user_owned,
    }


def _save_split(folder: Path, name: str, split: Split) -> None:
    if isinstance(split.images, Pictures):
        for array in _PICTURES_ARRAYS:
            _save(folder / f"{name}_{array}.npy", getattr(split.images, array))
    else:
        _save(folder / f"{name}_images.npy", split.images)
    _save(folder / f"{name}_labels.npy", split.labels)


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())


def _remove_leftovers(folder: Path) -> None:
    """Remove a damaged cache folder and the temporary folders that killed processes left behind."""
    for leftover in (folder, *folder.parent.glob(f".{folder.name}.*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache folder, so that one process writes at a time."""
    with ExitStack() as stack:
        with _convert_os_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(folder.with_name(f"{folder.name}.lock")))
        yield


@contextmanager
def _convert_os_errors(folder: Path) -> Iterator[None]:
    """Raise `HomeError` instead of the `OSError` of a failed write to the cache."""
    try:
        yield
    except OSError as error:
        raise HomeError(f"cannot write the cache {folder.parent}: {error.strerror}") from error
