from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from layouts import write_webvision
from small_cifar import declare

from trainables.datasets.pictures import Pictures
from trainables.datasets.webvision import MiniWebVision
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

SMALL = declare(
    MiniWebVision, class_count=3, listed_class_count=4, train_size=15, test_count_per_class=2
)


def error_message(data_dir: Path, source: MiniWebVision = SMALL) -> str:
    with pytest.raises(DataError) as error:
        source.read(data_dir)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(data_dir), "DIR")


@pytest.mark.parametrize("flat", [True, False])
def test_the_first_classes_and_both_test_sets(tmp_path: Path, *, flat: bool) -> None:
    dataset = write_webvision(tmp_path, flat=flat).read(tmp_path)

    assert dataset.train.labels.tolist() == [n // 5 for n in range(15)]
    assert dataset.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert list(dataset.test_splits) == ["webvision", "imagenet"]
    imagenet = dataset.test_splits["imagenet"]
    assert imagenet.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert isinstance(imagenet.images, Pictures)
    assert isinstance(dataset.test.images, Pictures)
    assert (imagenet.images.short_side, dataset.test.images.short_side) == (256, None)
    name = "ILSVRC2012_val_000000021.JPEG"
    assert imagenet.images.name(5) == (name if flat else f"n00000002/{name}")
    assert dataset.classes == ("word n00000000", "word n00000001", "word n00000002")
    assert dataset.top_k == (1, 5)
    assert not dataset.has_true_labels


def test_what_is_missing(tmp_path: Path) -> None:
    assert error_message(tmp_path).startswith(
        "webvision is not in DIR (no webvision/info/train_filelist_google.txt): download it from "
        "https"
    )
    write_webvision(tmp_path)
    shutil.move(tmp_path / "imagenet", tmp_path / "elsewhere")
    assert error_message(tmp_path).startswith(
        "the validation images of ILSVRC 2012 are not in DIR (no imagenet/val/), and webvision is "
    )
    shutil.move(tmp_path / "elsewhere", tmp_path / "imagenet")
    assert error_message(
        tmp_path,
        declare(MiniWebVision, class_count=3, listed_class_count=4, test_count_per_class=2),
    ) == (
        "DIR/webvision/info/train_filelist_google.txt names 15 pictures of the first 3 classes, "
        "the dataset has 65944: download this file again"
    )
    assert error_message(
        tmp_path, declare(MiniWebVision, class_count=3, listed_class_count=4, train_size=15)
    ) == (
        "info/val_filelist.txt: class n00000000 has 2 pictures, in the dataset it has 50: unpack "
        "the "
        "dataset again"
    )
    shutil.rmtree(tmp_path / "imagenet/val/n00000001")
    assert error_message(tmp_path) == (
        "DIR/imagenet/val has no folder n00000001, and DIR/imagenet/val.txt does not exist: put "
        "the "
        "pictures into folders named by WordNet ids, or provide this list of their classes"
    )
    shutil.rmtree(tmp_path / "webvision/google/q0001")
    assert error_message(tmp_path) == (
        "DIR/webvision: 5 of the 15 listed files are missing, the first is "
        "google/q0001/picture0.jpg: "
        "unpack all pictures into this folder"
    )


def test_a_label_beyond_the_lists_classes(tmp_path: Path) -> None:
    write_webvision(tmp_path)
    path = tmp_path / "webvision/info/val_filelist.txt"
    path.write_text(path.read_text().replace("val21.jpg 2", "val21.jpg 4"))
    assert error_message(tmp_path) == (
        "DIR/webvision/info/val_filelist.txt:6: label 4 is outside 0..3"
    )
