from __future__ import annotations

import pickle
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import small_cifar
from small_cifar import CLASSES, FINE_CLASSES, declare
from small_runs import pixels_of

from trainables.datasets.cifar import Archive, Cifar10, Cifar100
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def unpack(data_dir: Path, members: dict[str, bytes]) -> Path:
    folder = data_dir / Cifar10.archive.folder
    folder.mkdir(parents=True)
    for name, content in members.items():
        (folder / name).write_bytes(content)
    return folder


def test_cifar10_archive_gives_planes_and_labels_in_the_batches_order(tmp_path: Path) -> None:
    source = small_cifar.small_cifar10(tmp_path)
    dataset = source.read(tmp_path)

    assert dataset.name == "cifar10"
    assert dataset.classes == CLASSES
    assert dataset.image_shape == source.image_shape == (3, 32, 32)
    assert pixels_of(dataset.train).dtype == np.uint8
    assert dataset.train.labels.dtype == np.int64
    np.testing.assert_array_equal(dataset.train.images, small_cifar.pixels(100, seed=0))
    np.testing.assert_array_equal(dataset.train.labels, np.repeat(np.arange(10), 10))
    np.testing.assert_array_equal(dataset.test.images, small_cifar.pixels(10, seed=1))
    np.testing.assert_array_equal(dataset.test.labels, np.arange(10))
    # One row of the file is red, green and blue planes, each row by row.
    row = small_cifar.batch_rows()[4]
    assert pixels_of(dataset.test)[4, 1, 2, 3] == row[1024 + 2 * 32 + 3]


def test_small_archives_are_written_as_python_2_wrote_them() -> None:
    batch = small_cifar.cifar10_members()["data_batch_1"]

    assert batch.startswith(b"\x80\x02}q")
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in batch
    assert b"U\x04data" in batch
    assert b"caf\xe9_s_000000.png" in batch  # Latin-1, not UTF-8
    assert b"_codecs" not in batch


def test_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    dataset = small_cifar.small_cifar100(tmp_path).read(tmp_path)

    assert dataset.classes == FINE_CLASSES
    np.testing.assert_array_equal(dataset.train.labels, 7 * np.arange(200) % 100)
    np.testing.assert_array_equal(dataset.train.images, small_cifar.pixels(200, seed=2))
    assert len(dataset.test) == 100


def test_archive_unpacked_and_class_folders_have_one_digest(tmp_path: Path) -> None:
    source = small_cifar.small_cifar10(tmp_path / "packed")
    packed = source.read(tmp_path / "packed")
    unpack(tmp_path / "unpacked", small_cifar.cifar10_members())
    unpacked = source.read(tmp_path / "unpacked")
    for split, part in (("train", packed.train), ("test", packed.test)):
        small_cifar.write_pictures(
            tmp_path / "folders" / split, pixels_of(part), part.labels, packed.classes
        )
    folders = source.read(tmp_path / "folders")

    assert packed.digest == unpacked.digest == folders.digest
    assert folders.classes == packed.classes
    assert len(packed.digest) == 64


def test_digest_follows_pixels_labels_and_order(tmp_path: Path) -> None:
    members = small_cifar.cifar10_members()
    first = small_cifar.write_packed(tmp_path / "a", Cifar10, members)
    members["data_batch_1"], members["data_batch_2"] = (
        members["data_batch_2"],
        members["data_batch_1"],
    )
    second = small_cifar.write_packed(tmp_path / "b", Cifar10, members)

    assert first.read(tmp_path / "a").digest != second.read(tmp_path / "b").digest


def test_truncated_archive_is_refused_by_its_md5(tmp_path: Path) -> None:
    source = small_cifar.small_cifar10(tmp_path)
    path = tmp_path / source.archive.file_name
    path.write_bytes(path.read_bytes()[:-1000])

    with pytest.raises(
        DataError, match=rf"{path} is damaged or incomplete \(md5 .*delete the file"
    ):
        source.read(tmp_path)


@pytest.mark.parametrize("keep", [0, 20, 5000])
def test_archive_that_cannot_be_read_is_one_line(tmp_path: Path, keep: int) -> None:
    source = small_cifar.small_cifar10(tmp_path)
    path = tmp_path / source.archive.file_name
    path.write_bytes(path.read_bytes()[:keep])
    archive = replace(source.archive, md5=small_cifar.md5(path.read_bytes()))

    with pytest.raises(DataError, match=rf"{path} (cannot be read|lacks)") as error:
        declare(Cifar10, archive=archive).read(tmp_path)
    assert "\n" not in str(error.value)


def test_archive_without_a_member_names_it(tmp_path: Path) -> None:
    members = small_cifar.cifar10_members()
    del members["data_batch_3"]
    source = small_cifar.write_packed(tmp_path, Cifar10, members)

    with pytest.raises(DataError, match="lacks cifar-10-batches-py/data_batch_3"):
        source.read(tmp_path)


def test_member_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(small_cifar.cifar10_members()["batches.meta"])
    path = tmp_path / Cifar10.archive.file_name
    with tarfile.open(path, "w:gz") as tar:
        for name in Cifar10.archive.members:
            entry = tarfile.TarInfo(f"{Cifar10.archive.folder}/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, str(secret)
            tar.addfile(entry)
    archive = replace(Cifar10.archive, md5=small_cifar.md5(path.read_bytes()))

    with pytest.raises(DataError, match="lacks"):
        declare(Cifar10, archive=archive).read(tmp_path)


def test_reading_an_archive_writes_nothing(tmp_path: Path) -> None:
    source = small_cifar.small_cifar10(tmp_path)
    source.read(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [source.archive.file_name]


def test_unpacked_member_with_wrong_md5_is_named(tmp_path: Path) -> None:
    source = small_cifar.small_cifar10(tmp_path / "packed")
    members = small_cifar.cifar10_members()
    members["data_batch_4"] += b"x"
    folder = unpack(tmp_path, members)

    with pytest.raises(DataError, match=rf"{folder / 'data_batch_4'} is damaged or incomplete"):
        source.read(tmp_path)


def test_half_unpacked_folder_names_what_is_missing(tmp_path: Path) -> None:
    source = small_cifar.small_cifar10(tmp_path / "packed")
    members = small_cifar.cifar10_members()
    del members["test_batch"]
    unpack(tmp_path, members)

    with pytest.raises(DataError, match="is incomplete, test_batch cannot be read"):
        source.read(tmp_path)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_malicious_pickle_is_refused_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    members = small_cifar.cifar10_members()
    members["data_batch_1"] = pickle.dumps({"data": Malicious(trap)}, protocol=protocol)
    source = small_cifar.write_packed(tmp_path, Cifar10, members)

    with pytest.raises(
        DataError, match=r"data_batch_1 is not a pickle of arrays: the pickle names .*open"
    ):
        source.read(tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "has no 'data'"),
        ({"data": small_cifar.batch_rows()}, "has no 'labels'"),
        (
            {"data": small_cifar.batch_rows()[:, 1:], "labels": [0] * 10},
            "must be rows of 3072 bytes",
        ),
        ({"data": [1, 2], "labels": [0, 1]}, "must be rows of 3072 bytes"),
        ({"data": small_cifar.batch_rows(), "labels": ["0"] * 10}, "must be a list of integers"),
        ({"data": small_cifar.batch_rows(), "labels": [0] * 9}, "10 images but 9 labels"),
        ({"data": small_cifar.batch_rows(), "labels": [0] * 9 + [10]}, "label 10 is outside 0..9"),
        ({"data": small_cifar.batch_rows(), "labels": [-1] * 10}, "label -1 is outside 0..9"),
    ],
)
def test_batch_that_is_something_else_is_refused(
    tmp_path: Path, batch: object, message: str
) -> None:
    members = small_cifar.cifar10_members()
    members["test_batch"] = small_cifar.python2_pickle(batch)
    source = small_cifar.write_packed(tmp_path, Cifar10, members)

    with pytest.raises(DataError, match=message):
        source.read(tmp_path)


def test_missing_data_says_what_where_and_which_flag(tmp_path: Path) -> None:
    source = Cifar10()
    for method in (source.read, source.signature):
        with pytest.raises(DataError) as error:
            method(tmp_path)
        message = str(error.value)
        assert "\n" not in message
        for part in (
            "cifar10 is not in",
            str(tmp_path),
            Cifar10.archive.file_name,
            "train/<class>/",
        ):
            assert part in message
        assert "--data-dir" in message


def test_class_folders_must_be_ten_for_cifar10(tmp_path: Path) -> None:
    for split in ("train", "test"):
        small_cifar.write_pictures(
            tmp_path / split, small_cifar.pixels(3, 0), np.arange(3), ("a", "b", "c")
        )

    with pytest.raises(DataError, match="has 3 class folders: cifar10 needs exactly 10"):
        Cifar10().read(tmp_path)


def test_ten_class_folders_are_no_cifar100(tmp_path: Path) -> None:
    for split in ("train", "test"):
        small_cifar.write_pictures(
            tmp_path / split, small_cifar.pixels(10, 0), np.arange(10), CLASSES
        )

    assert Cifar10().signature(tmp_path)
    for method in (Cifar100().read, Cifar100().signature):
        with pytest.raises(DataError, match="has 10 class folders: cifar100 needs exactly 100"):
            method(tmp_path)


def test_class_folders_that_differ_between_splits_are_no_cifar10(tmp_path: Path) -> None:
    for split, classes in (("train", CLASSES), ("test", FINE_CLASSES[:10])):
        small_cifar.write_pictures(
            tmp_path / split, small_cifar.pixels(10, 0), np.arange(10), classes
        )

    with pytest.raises(DataError, match="both need the same classes"):
        Cifar10().signature(tmp_path)


def test_only_class_folders_have_files_of_samples(tmp_path: Path) -> None:
    for split in ("train", "test"):
        small_cifar.write_pictures(
            tmp_path / split, small_cifar.pixels(10, 0), np.arange(10), CLASSES
        )
    files = Cifar10().list_files(tmp_path)
    assert files is not None
    assert files[:2] == ("airplane/00000.png", "automobile/00001.png")
    assert small_cifar.small_cifar10(tmp_path).list_files(tmp_path) is None


def test_class_folders_must_hold_32_by_32_pictures(tmp_path: Path) -> None:
    for split in ("train", "test"):
        images = small_cifar.pixels(10, 0)[:, :, :28, :30]
        small_cifar.write_pictures(tmp_path / split, images, np.arange(10), CLASSES)

    with pytest.raises(DataError, match=r"00000.png is 30×28 pixels but cifar10 has 32×32"):
        Cifar10().read(tmp_path)
    with pytest.raises(DataError, match=r"00000.png is 30×28 pixels but cifar10 has 32×32"):
        Cifar10().signature(tmp_path)


@pytest.mark.parametrize("form", ["packed", "unpacked"])
def test_signature_changes_with_the_files(tmp_path: Path, form: str) -> None:
    source = small_cifar.small_cifar10(tmp_path)
    path = tmp_path / source.archive.file_name
    if form == "unpacked":
        path.unlink()
        path = unpack(tmp_path, small_cifar.cifar10_members()) / "data_batch_1"
    before = source.signature(tmp_path)

    assert source.signature(tmp_path) == before
    path.write_bytes(path.read_bytes() + b"x")
    assert source.signature(tmp_path) != before


@pytest.mark.parametrize("archive", [Cifar10.archive, Cifar100.archive])
def test_places_are_https_and_offer_the_file(archive: Archive) -> None:
    assert archive.urls[0].startswith("https://www.cs.toronto.edu/~kriz/")
    assert len(archive.urls) >= 2
    for place in archive.urls:
        assert place.startswith("https://")
        assert place.endswith("/" + archive.file_name)
    assert len(archive.members) == len(archive.train_files) + 2
    assert all(len(md5) == 32 for md5 in [archive.md5, *archive.members.values()])
