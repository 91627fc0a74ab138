from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from layouts import SIDE, random_pixels, write_animal10n
from small_cifar import declare

from trainables.datasets import animal10n
from trainables.datasets.animal10n import Animal10N
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def error_message(source: Animal10N, data_dir: Path) -> str:
    with pytest.raises(DataError) as error:
        source.read(data_dir)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(data_dir), "DIR")


def test_pictures_in_the_order_of_their_names(tmp_path: Path) -> None:
    source = write_animal10n(tmp_path, "raw")
    dataset = source.read(tmp_path)

    names = sorted(f"{n % 10}_img_{n}.jpg" for n in range(20))
    assert dataset.train.labels.tolist() == [int(name[0]) for name in names]
    assert source.list_files(tmp_path) == tuple(names)
    first = random_pixels(int(names[0].split("_")[2].split(".")[0]), SIDE, SIDE)
    pixels = np.asarray(dataset.train.images)[0].transpose(1, 2, 0)
    assert np.abs(pixels.astype(int) - first).mean() < 12  # a JPEG of it
    assert (dataset.image_shape, len(dataset.test)) == ((3, 64, 64), 10)
    assert dataset.classes[:2] == ("cat", "lynx")
    assert not dataset.has_true_labels


def test_binary_records_in_the_order_of_their_files(tmp_path: Path) -> None:
    source = write_animal10n(tmp_path, "binary")
    dataset = source.read(tmp_path)

    assert dataset.train.labels.tolist() == [n % 10 for n in range(20)]
    for number in (0, 9, 10, 19):
        expected = random_pixels(number, SIDE, SIDE).transpose(2, 0, 1)
        np.testing.assert_array_equal(np.asarray(dataset.train.images)[number], expected)
    assert len(dataset.test) == 10


def test_the_tenth_file_comes_after_the_ninth(tmp_path: Path) -> None:
    source = write_animal10n(tmp_path, "binary")
    root = tmp_path / animal10n.FOLDER
    (root / "data_batch_2.bin").rename(root / "data_batch_10.bin")
    (root / "data_batch_1.bin").rename(root / "data_batch_9.bin")
    assert source.read(tmp_path).train.labels[0] == 0


@pytest.mark.parametrize("form", ["raw", "binary"])
def test_too_few_pictures(form: Literal["raw", "binary"], tmp_path: Path) -> None:
    write_animal10n(tmp_path, form)
    larger = declare(Animal10N, train_size=21, test_size=10)
    assert error_message(larger, tmp_path) == (
        "DIR/animal10n has 20 train pictures, the dataset has 21: unpack the whole dataset again"
    )


def test_what_is_missing_or_not_as_it_should_be(tmp_path: Path) -> None:
    source = declare(Animal10N, train_size=20, test_size=10)
    assert error_message(source, tmp_path).startswith(
        "animal10n is not in DIR (looked for animal10n/tr"
    )
    write_animal10n(tmp_path, "raw")
    training = tmp_path / "animal10n/training"
    extra = training / "11_img_0.jpg"
    extra.write_bytes(b"")
    assert error_message(source, tmp_path) == (
        "DIR/animal10n/training/11_img_0.jpg: the file name must begin with the label, 0 to 9, "
        "and an underscore"
    )
    extra.unlink()
    (training / "3_img_3.jpg").write_bytes(b"no picture")
    unreadable = source.read(tmp_path).train.unreadable
    (line,) = unreadable.values()
    assert line.startswith(f"cannot read {training}/3_img_3.jpg as a picture")


def test_records_that_are_cut_or_have_other_labels(tmp_path: Path) -> None:
    source = write_animal10n(tmp_path, "binary")
    path = tmp_path / "animal10n/data_batch_2.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert error_message(source, tmp_path) == (
        f"DIR/animal10n/data_batch_2.bin has {len(content) - 1} bytes, which is not a multiple "
        "of the record size, 12296 bytes: the file is incomplete, unpack the dataset again"
    )
    path.write_bytes(content[:4] + (10).to_bytes(4, "little") + content[8:])
    assert error_message(source, tmp_path) == (
        "DIR/animal10n/data_batch_2.bin: record 0 (counted from 0) has label 10, outside 0..9"
    )
