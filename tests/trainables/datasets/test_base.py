from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import small_cifar

from trainables import datasets
from trainables.datasets import download
from trainables.datasets.base import Dataset, Split
from trainables.datasets.cifar import Cifar10
from trainables.errors import DataError, FieldError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainables.datasets import Progress


def ignore(done: int, total: int | None) -> None:
    pass


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str]]:
    """Targets and md5s of downloads, which are recorded instead of made."""
    calls: list[tuple[Path, str]] = []

    def fetch(_urls: Sequence[str], target: Path, md5: str, _progress: Progress) -> None:
        calls.append((target, md5))

    monkeypatch.setattr(download, "fetch", fetch)
    return calls


def test_sources_go_by_their_names() -> None:
    assert set(datasets.SOURCES) == {
        *("digits", "cifar10", "cifar100", "cifar10n", "cifar100n", "animal10n"),
        *("clothing1m", "webvision", "folder", "pictures", "npz"),
    }
    for name, source in datasets.SOURCES.items():
        assert source.name == name
        assert datasets.source_of(name) is source


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(FieldError, match=r"'cifar-10': did you mean 'cifar10'\? known: ") as error:
        datasets.load("cifar-10", Path(), None)
    assert error.value.field == "dataset"


def test_digest_is_the_same_with_and_without_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = small_cifar.small_cifar10(tmp_path / "data")
    monkeypatch.setitem(datasets.SOURCES, "cifar10", source)
    plain = datasets.load("cifar10", tmp_path / "data", None)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    miss = datasets.load("cifar10", tmp_path / "data", tmp_path / "cache")
    hit = datasets.load("cifar10", tmp_path / "data", tmp_path / "cache")

    assert plain.digest == miss.digest == hit.digest
    assert plain.classes == hit.classes == small_cifar.CLASSES


def test_missing_data_through_the_cache(tmp_path: Path) -> None:
    for cache_dir in (None, tmp_path / "cache"):
        with pytest.raises(DataError, match=r"cifar100 is not in .*--data-dir"):
            datasets.load("cifar100", tmp_path, cache_dir)
    assert list(tmp_path.iterdir()) == []


def test_download_missing_downloads_what_is_missing(
    tmp_path: Path, downloads: list[tuple[Path, str]]
) -> None:
    datasets.download_missing("cifar10", tmp_path, ignore)
    datasets.download_missing("cifar100", tmp_path, ignore)

    assert downloads == [
        (tmp_path / "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
        (tmp_path / "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    ]


@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("digits", "nothing"),
        ("folder", "nothing"),
        ("cifar10", "train/"),
        ("cifar10", "cifar-10-batches-py/"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar100", "cifar-100-python/"),
    ],
)
def test_download_missing_leaves_what_is_present(
    tmp_path: Path, downloads: list[tuple[Path, str]], name: str, present: str
) -> None:
    if present.endswith("/"):
        (tmp_path / present).mkdir()
    else:
        (tmp_path / present).write_bytes(b"")
    datasets.download_missing(name, tmp_path, ignore)

    assert downloads == []


def test_failed_download_names_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = replace(Cifar10.archive, urls=("http://127.0.0.1:1/cifar-10-python.tar.gz",))
    source = small_cifar.declare(Cifar10, archive=archive)
    monkeypatch.setitem(datasets.SOURCES, "cifar10", source)
    monkeypatch.setenv("no_proxy", "*")

    with pytest.raises(DataError, match=r"cannot download cifar-10-python.tar.gz .*--data-dir"):
        datasets.download_missing("cifar10", tmp_path, ignore)


def test_dataset_refuses_what_does_not_fit() -> None:
    images = np.zeros((2, 1, 2, 2), np.uint8)
    good = Split(images, np.array([0, 1]))
    for bad, message in (
        (Split(images, np.array([0])), "x, test split: 2 images but 1 labels"),
        (Split(images[:0], np.array([], np.int64)), "x, test split: the split has no images"),
        (Split(images, np.array([0, 2])), "x, test split: label 2 is outside 0..1"),
    ):
        with pytest.raises(DataError, match=message):
            Dataset("x", ("a", "b"), good, bad)


def test_reading_imports_no_torch_and_names_no_heavy_library(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from trainables import datasets
assert not {"torch", "sklearn", "PIL"} & set(sys.modules), "at import"
data, cache = Path(sys.argv[1]), Path(sys.argv[1]) / "cache"
for _ in range(2):
    datasets.load("folder", data, cache)
    datasets.load("digits", data, cache)
assert not {"torch", "mlflow", "optuna", "pydantic", "ray"} & set(sys.modules), "when read"
"""
    for split in ("train", "test"):
        small_cifar.write_pictures(
            tmp_path / split, small_cifar.pixels(2, 0), np.arange(2), ("a", "b")
        )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0


OUTSIDE = '''
"""A dataset in a file of its own."""

from pathlib import Path

import numpy as np

from trainables.datasets.base import Dataset, Source, Split, file_stamp


class Mine(Source):
    name = "mine"
    title = "my pictures"
    licence = "my own"
    layout = "mine.npz"

    def signature(self, data_dir: Path) -> str:
        return file_stamp(data_dir / "mine.npz")

    def read(self, data_dir: Path) -> Dataset:
        with np.load(data_dir / "mine.npz") as file:
            train = Split(file["x"], file["y"])
        return Dataset(self.name, ("cat", "dog"), train, train)
'''


def test_a_dataset_may_be_a_class_in_a_file_outside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(OUTSIDE)
    spec = importlib.util.spec_from_file_location("mine", tmp_path / "mine.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(datasets.SOURCES, "mine", module.Mine())
    source = datasets.source_of("mine")

    assert (source.class_count, source.image_shape, source.has_picture_files) == (None, None, False)
    assert not source.is_downloadable
    assert source.list_files(tmp_path) is None
    assert source.describe_checksums(tmp_path) is None
    datasets.download_missing("mine", tmp_path, ignore)
    with pytest.raises(DataError, match=f"cannot read {tmp_path}/mine.npz: No such file"):
        datasets.load("mine", tmp_path, tmp_path / "cache")
    images = np.zeros((4, 1, 2, 2), np.uint8)
    np.savez(tmp_path / "mine.npz", x=images, y=np.array([0, 1, 0, 1]))
    dataset = datasets.load("mine", tmp_path, tmp_path / "cache")
    assert dataset.digest == module.Mine().read(tmp_path).digest


def test_only_sources_with_a_fetch_of_their_own_can_be_downloaded() -> None:
    names = {name for name, source in datasets.SOURCES.items() if source.is_downloadable}
    assert names == {"cifar10", "cifar100", "cifar10n", "cifar100n"}
