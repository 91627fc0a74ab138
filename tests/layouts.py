"""Small data sets in their distributors' exact layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from small_cifar import declare, small_cifar10, small_cifar100

from trainables.datasets import animal10n, clothing1m, webvision
from trainables.datasets.animal10n import Animal10N
from trainables.datasets.cifar_human import Cifar10N, HumanCifar
from trainables.datasets.clothing1m import Clothing1M
from trainables.datasets.webvision import MiniWebVision

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from numpy.typing import NDArray

SIDE = 64
"""Side of ANIMAL-10N's pictures, in pixels."""


def random_pixels(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return a random colour picture."""
    random = np.random.Generator(np.random.Philox(seed))
    small = random.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return small.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


def save_jpeg(path: Path, seed: int, height: int, width: int) -> None:
    """Write a JPEG, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_pixels(seed, height, width)).save(path, quality=95)


def write_animal10n(
    data_dir: Path, form: Literal["raw", "binary"], train: int = 20, test: int = 10
) -> Animal10N:
    """Write pictures, or binary records in two training files, with labels 0, 1, ... 9, 0."""
    root = data_dir / animal10n.FOLDER
    for split, count in (("train", train), ("test", test)):
        if form == "raw":
            for number in range(count):
                name = f"{number % 10}_img_{number}.jpg"
                save_jpeg(root / animal10n.PICTURE_FOLDERS[split] / name, number, SIDE, SIDE)
            continue
        root.mkdir(parents=True, exist_ok=True)
        records = b"".join(_record(number) for number in range(count))
        half = len(records) // 2
        names = (
            {"data_batch_1.bin": records[:half], "data_batch_2.bin": records[half:]}
            if split == "train"
            else {"test_batch.bin": records}
        )
        for name, content in names.items():
            (root / name).write_bytes(content)
    return declare(Animal10N, train_size=train, test_size=test)


def _record(number: int) -> bytes:
    """Return a record: a four-byte id, a four-byte label, and the planes of the picture."""
    head = np.array([1000 + number, number % 10], dtype="<i4").tobytes()
    return head + random_pixels(number, SIDE, SIDE).transpose(2, 0, 1).tobytes()


def write_clothing1m(
    data_dir: Path, *, images: bool = True, train: int = 28, others: int = 14
) -> Clothing1M:
    """Write key lists, label files and pictures, under images/ or one level up."""
    root = data_dir / clothing1m.FOLDER
    root.mkdir(parents=True)
    names = [f"Class {label}" for label in range(14)]
    (root / clothing1m.CLASS_NAMES_FILE).write_text("".join(f"{name}\n" for name in names))
    keys: dict[str, list[str]] = {}
    for split, count in (("train", train), ("validation", others), ("test", others)):
        keys[split] = [f"images/{n % 10}/{n:02d}/{split}{n},{n}.jpg" for n in range(count)]
        (root / clothing1m.SPLIT_FILES[split][0]).write_text("".join(f"{k}\n" for k in keys[split]))
        for number, key in enumerate(keys[split]):
            path = root / (key if images else key.removeprefix("images/"))
            save_jpeg(path, hash_of(key), 240 + number, 320)
    labelled = {key: n % 14 for split in keys for n, key in enumerate(keys[split])}
    # The noisy labels are in another order than the keys, and cover more pictures.
    noisy = [f"{key} {(label + 1) % 14}\n" for key, label in reversed(labelled.items())]
    (root / clothing1m.NOISY_LABELS_FILE).write_text("".join(noisy))
    clean = [f"{key} {label}\n" for key, label in labelled.items() if key not in keys["train"]]
    (root / clothing1m.CLEAN_LABELS_FILE).write_text("".join(clean))
    return declare(Clothing1M, train_size=train, validation_size=others, test_size=others)


def hash_of(text: str) -> int:
    """Return a number that depends only on the text."""
    return int.from_bytes(text.encode()[-6:], "little")


def write_webvision(data_dir: Path, *, flat: bool = False) -> MiniWebVision:
    """Write lists and pictures of 4 classes, of which 3 are used; ILSVRC's in folders or flat."""
    root, imagenet = data_dir / webvision.FOLDER, data_dir / webvision.ILSVRC_FOLDER
    (root / "info").mkdir(parents=True)
    wnids = [f"n0000000{n}" for n in range(4)]
    (root / webvision.SYNSETS_FILE).write_text("".join(f"{w} word {w}, other\n" for w in wnids))
    train, test, listed = [], [], []
    for label, wnid in enumerate(wnids):
        for n in range(5):
            name = f"google/q{label:04d}/picture{n}.jpg"
            save_jpeg(root / name, 10 * label + n, 256, 300)
            train.append(f"{name} {label}\n")
        for n in range(2):
            save_jpeg(root / webvision.TEST_IMAGES_FOLDER / f"val{label}{n}.jpg", n, 256, 260)
            test.append(f"val{label}{n}.jpg {label}\n")
            name = f"ILSVRC2012_val_0000000{label}{n}.JPEG"
            folder = imagenet / "val" if flat else imagenet / "val" / wnid
            save_jpeg(folder / name, 50 + n, 375, 500)
            listed.append(f"{name} {label}\n")
    (root / webvision.TRAIN_LIST).write_text("".join(train))
    (root / webvision.TEST_LIST).write_text("".join(test))
    if flat:
        (imagenet / webvision.ILSVRC_LIST).write_text("".join(listed))
    return declare(
        MiniWebVision,
        class_count=3,
        listed_class_count=4,
        train_size=15,
        test_count_per_class=2,
    )


def write_cifar_human(
    data_dir: Path, human: type[HumanCifar] = Cifar10N, *, legacy: bool = False
) -> HumanCifar:
    """Write a small CIFAR archive, and a file of annotations as `torch.save` writes it."""
    cifar = (small_cifar10 if human is Cifar10N else small_cifar100)(data_dir)
    labels = cifar.read(data_dir).train.labels
    sets = {
        key: (labels + n) % cifar.class_count for n, key in enumerate(human.label_keys.values(), 1)
    }
    content = {"clean_label": labels, **sets}
    torch.save(content, data_dir / human.annotation_file, _use_new_zipfile_serialization=not legacy)
    return declare(human, cifar=cifar)
