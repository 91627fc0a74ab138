from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from small_runs import pixels_of

from trainables.datasets import cache
from trainables.datasets.base import Dataset, Source, Split
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
