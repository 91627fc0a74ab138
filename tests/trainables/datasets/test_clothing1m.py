from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from layouts import save_jpeg, write_clothing1m
from small_cifar import declare

from trainables.datasets.clothing1m import Clothing1M
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

SMALL = declare(Clothing1M, train_size=28, validation_size=14, test_size=14)


def error_message(data_dir: Path, source: Clothing1M = SMALL) -> str:
    with pytest.raises(DataError) as error:
        source.read(data_dir)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(f"{data_dir}/clothing1m", "DIR").replace(str(data_dir), "TOP")


@pytest.mark.parametrize("images", [True, False])
def test_keys_labels_and_splits(tmp_path: Path, *, images: bool) -> None:
    source = write_clothing1m(tmp_path, images=images)
    dataset = source.read(tmp_path)

    assert isinstance(dataset.train.images, Pictures)
    assert dataset.train.labels.tolist() == [(n % 14 + 1) % 14 for n in range(28)]
    assert dataset.test.labels.tolist() == list(range(14))
    assert dataset.validation is not None
    assert dataset.validation.labels.tolist() == list(range(14))
    name = dataset.train.images.name(3)
    assert name == ("images/3/03/train3,3.jpg" if images else "3/03/train3,3.jpg")
    assert dataset.train.images.short_side == 256
    assert dataset.classes[13] == "Class 13"
    assert dataset.image_shape is None
    assert not dataset.has_true_labels
    assert [len(split) for split in dataset.splits.values()] == [28, 14, 14]


def test_the_digest_follows_labels_and_files(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    root = tmp_path / "clothing1m"
    digests = [SMALL.read(tmp_path).digest]
    assert SMALL.read(tmp_path).digest == digests[0]
    save_jpeg(root / "images/3/03/train3,3.jpg", 5, 300, 400)
    digests.append(SMALL.read(tmp_path).digest)
    labels = root / "noisy_label_kv.txt"
    labels.write_text(labels.read_text().replace("train3,3.jpg 4", "train3,3.jpg 5"))
    digests.append(SMALL.read(tmp_path).digest)
    assert len(set(digests)) == 3


def test_what_is_missing(tmp_path: Path) -> None:
    assert error_message(tmp_path).startswith(
        "clothing1m is not in TOP (no clothing1m/category_names_eng.txt): request the dataset from"
    )
    write_clothing1m(tmp_path)
    assert error_message(tmp_path, Clothing1M()) == (
        "DIR/noisy_train_key_list.txt has 28 keys, the dataset has 1000000: download this "
        "file again"
    )
    for n in (3, 4, 5):
        (tmp_path / f"clothing1m/images/{n}/0{n}/train{n},{n}.jpg").unlink()
    assert error_message(tmp_path) == (
        "DIR: 3 of the 28 listed files are missing, the first is images/3/03/train3,3.jpg: unpack "
        "all "
        "pictures into this folder"
    )


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        (
            "noisy_label_kv.txt",
            "images/3/03/train3,3.jpg 4",
            "images/3/03/train3,3.jpg 14",
            "DIR/noisy_label_kv.txt:53: label 14 is outside 0..13",
        ),
        (
            "noisy_label_kv.txt",
            "images/3/03/train3,3.jpg 4",
            "images/3/03/train3,3.jpg four",
            "DIR/noisy_label_kv.txt:53: expected '<name> <label>', got 'images/3/03/train3,3.jpg "
            "four'",
        ),
        (
            "noisy_label_kv.txt",
            "images/3/03/train3,3.jpg 4\n",
            "",
            "DIR/noisy_train_key_list.txt:4: images/3/03/train3,3.jpg has no label in "
            "noisy_label_kv.txt",
        ),
        (
            "noisy_train_key_list.txt",
            "images/4/04/train4,4.jpg",
            "images/3/03/train3,3.jpg",
            "DIR/noisy_train_key_list.txt:5: 'images/3/03/train3,3.jpg' occurs twice in the list",
        ),
        (
            "noisy_train_key_list.txt",
            "images/4/04/train4,4.jpg",
            "images/4/04/train4, 4.jpg",
            "DIR/noisy_train_key_list.txt:5: expected one name, got 'images/4/04/train4, 4.jpg'",
        ),
        (
            "category_names_eng.txt",
            "Class 13\n",
            "",
            "DIR/category_names_eng.txt names 13 classes, the dataset has 14",
        ),
    ],
)
def test_lists_that_contradict(
    file: str, before: str, after: str, message: str, tmp_path: Path
) -> None:
    write_clothing1m(tmp_path)
    path = tmp_path / "clothing1m" / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    assert error_message(tmp_path) == message


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            b"../../secret",
            "the name '../../secret' points outside the data folder: use a name relative to the "
            "folder",
        ),
        (
            b"/etc/passwd",
            "the name '/etc/passwd' points outside the data folder: use a name relative to the "
            "folder",
        ),
        (b"images/caf\xe9.jpg", r"the name 'images/caf\xe9.jpg' is not UTF-8: rename the file"),
    ],
)
def test_names_that_leave_the_folder_or_are_not_utf8(
    key: bytes, message: str, tmp_path: Path
) -> None:
    write_clothing1m(tmp_path)
    for file in ("noisy_train_key_list.txt", "noisy_label_kv.txt"):
        path = tmp_path / "clothing1m" / file
        path.write_bytes(path.read_bytes().replace(b"images/4/04/train4,4.jpg", key))
    assert error_message(tmp_path) == message
