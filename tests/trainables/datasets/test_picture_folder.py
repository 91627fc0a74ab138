from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from layouts import save_jpeg

from trainables.datasets import cache
from trainables.datasets.picture_folder import PictureFolder
from trainables.datasets.pictures import Pictures, thumbnails
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two classes; pictures of any size, one of them for validation."""
    sizes = {"train": 3, "test": 2, "validation": 1}
    for split, count in sizes.items():
        for name in ("bee", "ant"):
            for number in range(count):
                save_jpeg(tmp_path / split / name / f"{number}.jpg", number, 30 + number, 40)
    return tmp_path


def test_classes_files_and_splits(data_dir: Path) -> None:
    dataset = PictureFolder().read(data_dir)

    assert dataset.classes == ("ant", "bee")
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.validation is not None
    assert dataset.validation.labels.tolist() == [0, 1]
    images = dataset.train.images
    assert isinstance(images, Pictures)
    assert images.path(4) == f"{data_dir}/train/bee/1.jpg"
    assert dataset.image_shape is None


def test_validation_is_no_must_and_may_lack_classes(data_dir: Path) -> None:
    (data_dir / "validation/ant/0.jpg").unlink()
    (data_dir / "validation/ant").rmdir()
    validation = PictureFolder().read(data_dir).validation
    assert validation is not None
    assert validation.labels.tolist() == [1]
    (data_dir / "validation/bee").rename(data_dir / "elsewhere")
    (data_dir / "validation").rmdir()
    assert PictureFolder().read(data_dir).validation is None


def test_a_validation_class_that_is_not_trained_on_is_named(data_dir: Path) -> None:
    (data_dir / "validation/bee").rename(data_dir / "validation/wasp")
    with pytest.raises(DataError, match=f"{data_dir}/validation/wasp is not a class of train/"):
        PictureFolder().read(data_dir)


def test_the_cache_sees_a_validation_split_that_comes_later(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "validation").rename(tmp_path / "later")
    assert cache.load(PictureFolder(), data_dir, tmp_path / "cache").validation is None
    (tmp_path / "later").rename(data_dir / "validation")
    assert cache.load(PictureFolder(), data_dir, tmp_path / "cache").validation is not None


def test_an_empty_class_is_named(data_dir: Path) -> None:
    (data_dir / "train/cat").mkdir()
    with pytest.raises(DataError, match=f"class folder {data_dir}/train/cat is empty"):
        PictureFolder().read(data_dir)


def test_the_cache_keeps_the_index(data_dir: Path, tmp_path: Path) -> None:
    read = PictureFolder().read(data_dir)
    for _ in range(2):
        cached = cache.load(PictureFolder(), data_dir, tmp_path / "cache")
        assert cached.digest == read.digest
        assert isinstance(cached.train.images, Pictures)
        assert cached.train.images.path(2) == f"{data_dir}/train/ant/2.jpg"
        assert cached.train.images.short_side == 256
        assert cached.validation is not None
        assert cached.validation.labels.tolist() == [0, 1]


def test_thumbnails_are_small_squares_and_black_where_there_is_no_picture(data_dir: Path) -> None:
    (data_dir / "train/ant/1.jpg").write_bytes(b"no picture")
    train = PictureFolder().read(data_dir).train
    assert isinstance(train.images, Pictures)
    pixels = thumbnails(train.images, np.arange(3), side=16)
    assert pixels.shape == (3, 3, 16, 16)
    assert pixels[0].any()
    assert not pixels[1].any()


def test_thumbnail_of_a_pipe_is_black(data_dir: Path) -> None:
    (data_dir / "train/ant/1.jpg").unlink()
    os.mkfifo(data_dir / "train/ant/1.jpg")
    train = PictureFolder().read(data_dir).train
    assert isinstance(train.images, Pictures)
    pixels = thumbnails(train.images, np.arange(3), side=16)
    assert [bool(picture.any()) for picture in pixels] == [True, False, True]
