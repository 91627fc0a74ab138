from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from layouts import save_jpeg
from small_runs import pixels_of

from trainables.datasets import cache
from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.picture_folder import PictureFolder
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError, HomeError

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = """
import sys, time
from pathlib import Path
import numpy as np
from trainables.datasets import cache
from trainables.datasets.base import Dataset, Source, Split

class Counted(Source):
    name = "counted"

    def read(self, data_dir):
        with (data_dir / "log").open("a") as log:
            log.write("read\\n")
        time.sleep(0.5)
        split = Split(np.full((50, 3, 8, 8), 7, np.uint8), np.arange(50) % 2)
        return Dataset("counted", ("a", "b"), split, split)

    def signature(self, data_dir):
        return "same"

dataset = cache.load(Counted(), Path(sys.argv[1]), Path(sys.argv[1]) / "cache")
print(dataset.digest, int(dataset.train.images.sum()), type(dataset.train.images).__name__)
"""


class Counted(Source):
    """A dataset that counts how often it is decoded."""

    name = "counted"

    def __init__(self) -> None:
        self.state = "first"
        self.reads = 0

    def read(self, data_dir: Path) -> Dataset:  # noqa: ARG002
        self.reads += 1
        images = np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2)
        labels = np.array([0, 1, 0, 1, 1, 1])
        return Dataset("counted", ("né", "b"), Split(images, labels), Split(images[:2], labels[:2]))

    def signature(self, data_dir: Path) -> str:  # noqa: ARG002
        return self.state


class Annotated(Counted):
    """A dataset with labels that people assigned."""

    def read(self, data_dir: Path) -> Dataset:
        dataset = super().read(data_dir)
        return replace(dataset, annotations={"worse": 1 - dataset.train.labels})


def folders(cache_dir: Path) -> list[Path]:
    return sorted(path for path in cache_dir.iterdir() if path.is_dir())


def test_miss_stores_and_hit_maps(tmp_path: Path) -> None:
    counted = Counted()
    fresh = counted.read(tmp_path)
    miss = cache.load(counted, tmp_path, tmp_path / "cache")
    hit = cache.load(counted, tmp_path, tmp_path / "cache")

    assert counted.reads == 2
    assert fresh.digest == miss.digest == hit.digest
    assert hit.classes == ("né", "b")
    for dataset in (miss, hit):
        assert isinstance(dataset.train.images, np.memmap)
        assert isinstance(dataset.train.labels, np.memmap)
        np.testing.assert_array_equal(dataset.train.images, fresh.train.images)
        np.testing.assert_array_equal(dataset.train.labels, fresh.train.labels)
        np.testing.assert_array_equal(dataset.test.images, fresh.test.images)
    (folder,) = folders(tmp_path / "cache")
    assert folder.name.startswith("counted-")


def test_hit_takes_the_stored_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    stored = cache.load(counted, tmp_path, tmp_path).digest
    monkeypatch.setattr("trainables.datasets.base.content_digest", lambda *_: "hashed again")

    assert cache.load(counted, tmp_path, tmp_path).digest == stored


def test_arrays_are_writable_without_reaching_the_file(tmp_path: Path) -> None:
    counted = Counted()
    first = cache.load(counted, tmp_path, tmp_path)
    assert pixels_of(first.train).flags.writeable
    pixels_of(first.train)[0] = 99

    assert pixels_of(cache.load(counted, tmp_path, tmp_path).train)[0].max() == 3


def test_changed_files_are_decoded_again(tmp_path: Path) -> None:
    counted = Counted()
    cache.load(counted, tmp_path, tmp_path / "cache")
    counted.state = "second"
    cache.load(counted, tmp_path, tmp_path / "cache")

    assert counted.reads == 2
    assert len(folders(tmp_path / "cache")) == 2


@pytest.mark.parametrize("damage", ["meta.json", "train_images.npy", "test_labels.npy"])
@pytest.mark.parametrize("way", ["cut", "gone"])
def test_damaged_cache_is_decoded_again(tmp_path: Path, damage: str, way: str) -> None:
    counted = Counted()
    whole = cache.load(counted, tmp_path, tmp_path / "cache")
    (folder,) = folders(tmp_path / "cache")
    content = (folder / damage).read_bytes()
    (folder / damage).unlink()
    if way == "cut":
        (folder / damage).write_bytes(content[:-1])
    again = cache.load(counted, tmp_path, tmp_path / "cache")

    assert counted.reads == 2
    assert again.digest == whole.digest
    np.testing.assert_array_equal(again.train.images, whole.train.images)


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    counted = Counted()
    cache.load(counted, tmp_path, tmp_path)
    (folder,) = folders(tmp_path)
    folder.rename(tmp_path / f".{folder.name}.0badcafe")
    cache.load(counted, tmp_path, tmp_path)

    assert folders(tmp_path) == [folder]


def test_concurrent_processes_decode_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COUNTED, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert printed[0] == printed[1]
    assert printed[0].endswith(f" {50 * 3 * 8 * 8 * 7} memmap\n")
    assert (tmp_path / "log").read_text() == "read\n"
    assert len(folders(tmp_path / "cache")) == 1


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(HomeError, match=rf"cannot write the cache {tmp_path}: No space left"):
        cache.load(Counted(), tmp_path, tmp_path)
    assert folders(tmp_path) == []


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")

    with pytest.raises(HomeError, match=rf"cannot write the cache {tmp_path / 'cache'}"):
        cache.load(Counted(), tmp_path, tmp_path / "cache")


def test_faults_of_the_data_are_not_the_caches(tmp_path: Path) -> None:
    class Broken(Counted):
        def read(self, data_dir: Path) -> Dataset:  # noqa: ARG002
            raise DataError("picture 7 is broken")

    with pytest.raises(DataError, match="picture 7 is broken"):
        cache.load(Broken(), tmp_path, tmp_path / "cache")
    assert folders(tmp_path / "cache") == []


def change_byte(path: Path) -> None:
    """Change the last byte of a file, and keep its size and its time of modification."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "name", ["train_images.npy", "test_labels.npy", "annotation_worse.npy", "meta.json"]
)
def test_changed_byte_is_noticed_and_mended(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Annotated().read(tmp_path)
    cache.load(Annotated(), tmp_path, tmp_path)
    (folder,) = folders(tmp_path)
    change_byte(folder / name)
    assert capsys.readouterr().err == ""
    again = cache.load(Annotated(), tmp_path, tmp_path)

    assert capsys.readouterr().err == (
        f"the cached dataset {folder} is damaged ({name} does not have its SHA-256): decoding the "
        "dataset again\n"
    )
    np.testing.assert_array_equal(again.train.images, whole.train.images)
    np.testing.assert_array_equal(again.test.labels, whole.test.labels)
    np.testing.assert_array_equal(again.annotations["worse"], whole.annotations["worse"])
    assert again.classes == whole.classes
    cache.load(Annotated(), tmp_path, tmp_path)
    assert capsys.readouterr().err == ""


def test_changed_index_of_picture_files_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        for label in ("ant", "bee"):
            save_jpeg(tmp_path / "data" / split / label / "a.jpg", 0, 8, 8)
    source, cache_dir = PictureFolder(), tmp_path / "cache"
    cache.load(source, tmp_path / "data", cache_dir)
    (folder,) = folders(cache_dir)
    change_byte(folder / "train_names.npy")
    images = cache.load(source, tmp_path / "data", cache_dir).train.images

    assert "train_names.npy does not have its SHA-256" in capsys.readouterr().err
    assert isinstance(images, Pictures)
    assert [images.name(position) for position in range(2)] == ["ant/a.jpg", "bee/a.jpg"]


def test_files_are_hashed_once_per_machine_and_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed_names: list[str] = []
    file_sha256 = cache._file_sha256

    def hash_file(path: Path) -> str:
        hashed_names.append(path.name)
        return file_sha256(path)

    def hashed_by_load() -> list[str]:
        hashed_names.clear()
        cache.load(Counted(), tmp_path, tmp_path)
        return hashed_names

    cache.load(Counted(), tmp_path, tmp_path)
    (folder,) = folders(tmp_path)
    names = [*(path.name for path in folder.glob("*.npy")), "meta.json"]
    monkeypatch.setattr(cache, "_file_sha256", hash_file)
    assert hashed_by_load() == []
    monkeypatch.setattr(platform, "node", lambda: "another-machine")
    assert sorted(hashed_by_load()) == sorted(names)
    assert hashed_by_load() == []
    os.utime(folder / "train_labels.npy")
    assert sorted(hashed_by_load()) == sorted(names)
    assert hashed_by_load() == []


def test_cache_that_cannot_take_a_stamp_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: str) -> None:  # noqa: ARG001
        raise HomeError(f"cannot write {path}")

    counted = Counted()
    cache.load(counted, tmp_path, tmp_path)
    monkeypatch.setattr(cache, "write_atomically", refuse)
    monkeypatch.setattr(platform, "node", lambda: "another-machine")
    cache.load(counted, tmp_path, tmp_path)
    assert counted.reads == 1


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    cache.load(Counted(), tmp_path, tmp_path)
    (folder,) = folders(tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.parametrize("name", ["meta.json", "train_images.npy"])
def test_a_list_of_checksums_that_lacks_a_file_is_damage(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = Counted()
    cache.load(counted, tmp_path, tmp_path)
    (folder,) = folders(tmp_path)
    path = folder / "SHA256SUMS"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.endswith(f"  {name}\n")))
    cache.load(counted, tmp_path, tmp_path)
    assert counted.reads == 2
    assert f"(SHA256SUMS lacks {name})" in capsys.readouterr().err
