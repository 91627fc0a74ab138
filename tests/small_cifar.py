"""Small archives in the distributor's exact layout, and the same pictures as class folders."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import numpy as np
from PIL import Image

from trainables.datasets.cifar import Archive, Cifar, Cifar10, Cifar100

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainables.datasets import Source

T = TypeVar("T", bound="Source")

FINE_CLASSES = tuple(f"kind{number:03d}" for number in range(100))
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


class Python2Pickler(pickle._Pickler):
    """Pickler of protocol 2 as in Python 2: byte strings for text and bytes, old NumPy names."""

    dispatch: ClassVar[dict[type, Callable[..., None]]] = dict(pickle._Pickler.dispatch)
    write: Callable[[bytes], object]
    memoize: Callable[[object], None]

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)

    def save_text(self, obj: str | bytes) -> None:
        content = obj.encode("latin1") if isinstance(obj, str) else obj
        if len(content) < 256:
            self.write(b"U" + bytes([len(content)]) + content)
        else:
            self.write(b"T" + len(content).to_bytes(4, "little") + content)
        self.memoize(obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = "numpy.core.multiarray" if obj.__name__ == "_reconstruct" else obj.__module__
        self.write(f"c{module}\n{name or obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[str] = save_text
    dispatch[bytes] = save_text
    dispatch[type] = save_global
    dispatch[type(np.empty(0).__reduce__()[0])] = save_global
    dispatch[type(pickle.dumps)] = save_global


def python2_pickle(value: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file).dump(value)
    return file.getvalue()


def pixels(count: int, seed: int) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def cifar10_members(per_class: int = 2) -> dict[str, bytes]:
    """Return five training batches and a test batch; labels ascend over the training split."""
    labels = np.repeat(np.arange(10), 5 * per_class)
    images = pixels(len(labels), seed=0)
    size = len(labels) // 5
    members = {
        f"data_batch_{k + 1}": python2_pickle(
            {
                "batch_label": f"training batch {k + 1} of 5",
                "labels": labels[k * size : (k + 1) * size].tolist(),
                "data": images[k * size : (k + 1) * size].reshape(size, 3072),
                "filenames": [f"caf\xe9_s_{i:06d}.png" for i in range(size)],
            }
        )
        for k in range(5)
    }
    members["test_batch"] = python2_pickle(
        {"batch_label": "testing batch 1 of 1", "labels": list(range(10)), "data": batch_rows()}
    )
    members["batches.meta"] = python2_pickle(
        {"num_cases_per_batch": size, "label_names": list(CLASSES), "num_vis": 3072}
    )
    return members


def batch_rows() -> np.ndarray:
    return pixels(10, seed=1).reshape(10, 3072)


def cifar100_members() -> dict[str, bytes]:
    def batch(count: int, seed: int) -> bytes:
        fine = [(7 * i) % 100 for i in range(count)]
        return python2_pickle(
            {
                "filenames": [f"{i}.png" for i in range(count)],
                "batch_label": "batch 1 of 1",
                "fine_labels": fine,
                "coarse_labels": [label // 5 for label in fine],
                "data": pixels(count, seed).reshape(count, 3072),
            }
        )

    names = {"fine_label_names": list(FINE_CLASSES), "coarse_label_names": ["x"] * 20}
    return {"train": batch(200, 2), "test": batch(100, 3), "meta": python2_pickle(names)}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def pack(archive: Archive, members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        folder = tarfile.TarInfo(archive.folder)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in members.items():
            entry = tarfile.TarInfo(f"{archive.folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def described(archive: Archive, members: dict[str, bytes], packed: bytes) -> Archive:
    """Return the description of an archive with other members in the layout of a real one."""

    def sum_of(name: str) -> tuple[str, str]:
        return (name, md5(members.get(name, b"")))

    return replace(
        archive,
        md5=md5(packed),
        train_files=tuple(sum_of(name) for name, _ in archive.train_files),
        test_file=sum_of(archive.test_file[0]),
        meta_file=sum_of(archive.meta_file[0]),
    )


def declare(base: type[T], **declarations: object) -> T:
    """Return a dataset that differs from a class in some declarations."""
    return cast("T", type(base.__name__, (base,), declarations)())


def write_packed(data_dir: Path, base: type[Cifar], members: dict[str, bytes]) -> Cifar:
    """Write an archive, and return the dataset that is read from it."""
    packed = pack(base.archive, members)
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / base.archive.file_name).write_bytes(packed)
    return declare(base, archive=described(base.archive, members, packed))


def small_cifar10(data_dir: Path) -> Cifar:
    """Write a small CIFAR-10."""
    return write_packed(data_dir, Cifar10, cifar10_members())


def small_cifar100(data_dir: Path) -> Cifar:
    """Write a small CIFAR-100."""
    return write_packed(data_dir, Cifar100, cifar100_members())


def write_pictures(
    root: Path, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]
) -> None:
    """Write RGB pictures (n, 3, H, W) as PNG files into class folders."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{i:05d}.png")
