from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trainables.datasets.npz import Npz
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

LABELS = np.array([0, 1, 2, 1])


def arrays(*shape: int) -> dict[str, Any]:
    random = np.random.Generator(np.random.Philox(0))
    images = random.integers(0, 256, (4, *shape), dtype=np.uint8)
    return {"x_train": images, "y_train": LABELS, "x_test": images[:2], "y_test": LABELS[:2]}


def error_message(folder: Path, **content: Any) -> str:
    np.savez(folder / "data.npz", **content)
    with pytest.raises(DataError) as error:
        Npz().read(folder)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(folder), "DIR")


@pytest.mark.parametrize(
    ("shape", "image"),
    [((8, 9), (1, 8, 9)), ((8, 9, 3), (3, 8, 9)), ((3, 8, 9), (3, 8, 9)), ((8, 9, 1), (1, 8, 9))],
)
def test_images_in_any_of_the_usual_orders(
    shape: tuple[int, ...], image: tuple[int, ...], tmp_path: Path
) -> None:
    content = arrays(*shape)
    np.savez(tmp_path / "data.npz", **content)
    dataset = Npz().read(tmp_path)

    assert dataset.image_shape == image
    assert dataset.classes == ("0", "1", "2")
    assert dataset.train.labels.tolist() == LABELS.tolist()
    place = {2: (4, 5), 3: (4, 5, 0) if shape[0] == 8 else (0, 4, 5)}[len(shape)]
    expected = content["x_train"][2][place]
    assert np.asarray(dataset.train.images)[2, 0, 4, 5] == expected


def test_names_of_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **arrays(8, 8), classes=np.array(["a", "b", "c", "d"]))
    assert Npz().read(tmp_path).classes == ("a", "b", "c", "d")


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data\.npz in .*: expected data\.npz with x_train"):
        Npz().read(tmp_path)
    good = arrays(8, 8)
    less = {name: array for name, array in good.items() if name != "y_test"}
    assert error_message(tmp_path, **less).startswith(
        "DIR/data.npz has no array 'y_test': expected "
    )
    assert error_message(tmp_path, **{**good, "x_train": good["x_train"] / 255}) == (
        "DIR/data.npz: x_train is float64 of shape (4, 8, 8), required is uint8 of shape "
        "(n, H, W), (n, H, W, C) or (n, C, H, W)"
    )
    assert error_message(tmp_path, **{**good, "y_train": np.eye(4)}) == (
        "DIR/data.npz: y_train is float64 of shape (4, 4), required are integers of shape (n,)"
    )
    assert error_message(tmp_path, **{**good, "y_train": LABELS[:3]}) == (
        "npz, train split: 4 images but 3 labels"
    )
    assert error_message(tmp_path, **{**good, "y_train": LABELS - 1}) == (
        "npz, train split: label -1 is outside 0..1"
    )
    assert error_message(tmp_path, **{**good, "x_test": good["x_test"][:, :7]}) == (
        "DIR/data.npz: images have shape (1, 8, 8) in x_train but (1, 7, 8) in x_test: both "
        "need the same shape"
    )
    assert error_message(tmp_path, **arrays(4, 8, 8)).endswith("4 channels, allowed are 1 and 3")
    assert error_message(tmp_path, **good, classes=np.array(["a", "a", "b"])) == (
        "DIR/data.npz: classes must be a vector of strings without repetition"
    )
    assert error_message(tmp_path, **{**good, "y_train": LABELS * 0, "y_test": LABELS[:2] * 0}) == (
        "npz: number of classes is 1, at least 2 are needed"
    )
    assert error_message(tmp_path, **{**good, "y_train": np.array([0, 2, 5, 2])}) == (
        "DIR/data.npz: y_train has no sample of class 1, but labels up to 5: number the classes "
        "from 0 without a gap, or name them all in 'classes'"
    )
    objects = np.array([{}, {}, {}, {}], dtype=object)
    assert error_message(tmp_path, **{**good, "x_train": objects}).startswith(
        "DIR/data.npz cannot be read as NumPy arrays: "
    )
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, LABELS)
    with pytest.raises(DataError, match=r"data\.npz cannot be read as NumPy arrays"):
        Npz().read(tmp_path)
    (tmp_path / "data.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read as NumPy arrays"):
        Npz().read(tmp_path)


def test_header_that_claims_640_terabytes_is_refused(tmp_path: Path) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (640 * 10**12,)}
    np.savez(tmp_path / "data.npz", **arrays(8, 8))
    with (
        zipfile.ZipFile(tmp_path / "data.npz", "a") as archive,
        archive.open("extra.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(DataError) as error:
        Npz().read(tmp_path)
    assert str(error.value).startswith(
        f"{tmp_path}/data.npz is damaged, or its arrays do not fit into the memory of this machine "
        "(Unable to allocate 582. TiB for an array with shape (640000000000000,)"
    )


def test_damaged_archives_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **arrays(8, 8))
    content = path.read_bytes()
    random = np.random.Generator(np.random.Philox(0))
    messages = []
    for _ in range(300):
        damaged = bytearray(content)
        damaged[int(random.integers(len(content)))] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        try:
            Npz().read(tmp_path)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 150
    assert not any("\n" in message for message in messages)
