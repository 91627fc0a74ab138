from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from small_runs import CPU

from trainables.datasets.pictures import Pictures
from trainables.errors import DataError
from trainables.run_data.input_images import InputFormat, read_images
from trainables.run_data.picture_loader import PictureLoader

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def random_pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_picture_of_the_right_size_is_not_changed(tmp_path: Path) -> None:
    pixels = random_pixels(6, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = read_images(tmp_path / "a.png", InputFormat((3, 6, 8)))
    np.testing.assert_array_equal(images, pixels.transpose(2, 0, 1)[None])


def test_a_grey_picture_keeps_its_values(tmp_path: Path) -> None:
    pixels = random_pixels(8, 8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = read_images(tmp_path / "a.png", InputFormat((1, 8, 8)))
    np.testing.assert_array_equal(images, pixels[None, None])


def test_a_picture_of_another_size_covers_the_input(tmp_path: Path) -> None:
    """Left half black, right half white: the centre of a wide picture has the border."""
    pixels = np.zeros((16, 64, 3), dtype=np.uint8)
    pixels[:, 32:] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (image,) = read_images(tmp_path / "a.png", InputFormat((3, 8, 8)))
    assert image.shape == (3, 8, 8)
    assert (image[:, :, :3] == 0).all()
    assert (image[:, :, 5:] == 255).all()


@pytest.mark.parametrize("short_side", [None, 24])
def test_picture_files_are_read_as_in_an_evaluation(tmp_path: Path, short_side: int | None) -> None:
    Image.fromarray(random_pixels(40, 31, 3)).save(tmp_path / "a.jpg")
    pictures = Pictures.from_names(tmp_path, [b"a.jpg"], short_side)
    index = np.zeros(1, dtype=np.int64)
    (evaluated, _), *_ = PictureLoader(pictures, index, index, CPU, 16).batches(1)
    input_format = InputFormat((3, 16, 16), short_side, has_picture_files=True)
    images = read_images(tmp_path / "a.jpg", input_format)
    np.testing.assert_array_equal(images, evaluated.numpy())


@pytest.mark.parametrize("name", ["one.npy", "one.npz", "two.npz"])
def test_arrays(tmp_path: Path, name: str) -> None:
    images = random_pixels(5, 4, 6, 3)
    np.save(tmp_path / "one.npy", images)
    np.savez(tmp_path / "one.npz", images)
    np.savez(tmp_path / "two.npz", x_train=images[:2], x_test=images)
    read = read_images(tmp_path / name, InputFormat((3, 4, 6)))
    np.testing.assert_array_equal(read, images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 4, 6, 3))}, r"is float64 of shape \(2, 4, 6, 3\), required are uint8"),
        ({"x": np.zeros((2, 3, 5, 5), np.uint8)}, "has images of 3×5×5, required are 3×4×6"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "has 2 arrays, none is 'x_test'"),
        ({"x": np.array([None])}, "cannot read .* as a NumPy array without Python objects"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_images(tmp_path / "a.npz", InputFormat((3, 4, 6)))


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.npy"):
        (tmp_path / name).write_bytes(b"no picture")
        for has_files in (True, False):
            with pytest.raises(DataError, match="cannot read"):
                read_images(tmp_path / name, InputFormat((3, 8, 8), None, has_files))
