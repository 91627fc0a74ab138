"""The command `data`."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_line import call_command
from PIL import Image
from small_cifar import CLASSES, pixels, small_cifar10
from small_cifar import write_pictures as write_class_folders

import trainables.datasets.download
from orchestrator.commands import data
from orchestrator.home import Home
from trainables.datasets import SOURCES, load
from trainables.errors import DataError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainables.datasets import Progress


def write_pictures(folder: Path, side: int = 8) -> None:
    """Write two classes with three training pictures and one test picture each."""
    random = np.random.Generator(np.random.Philox(2))
    for split, count in (("train", 3), ("test", 1)):
        for name in ("ant", "bee"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")


def test_list_names_the_missing_part_of_each_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path)
    assert data.list_datasets(tmp_path, as_json=True) == 0
    out = capsys.readouterr()
    listed = json.loads(out.out)

    assert set(listed) == set(SOURCES)
    assert {name for name, one in listed.items() if one["found"]} >= {"digits", "folder"}
    assert listed["clothing1m"]["missing"].startswith(f"clothing1m is not in {tmp_path}")
    assert listed["cifar10"]["downloads"]
    assert not listed["webvision"]["downloads"]
    for name, one in listed.items():
        assert one["layout"]
        assert one["offered"]
        assert name in out.err
    words = [line.split()[:2] for line in out.err.splitlines()]
    assert ["folder", "present"] in words
    assert ["clothing1m", "missing"] in words


def test_check_counts_classes_and_names_unreadable_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path)
    assert data.check("folder", tmp_path, decode=True, as_json=True) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["classes"] == ["ant", "bee"]
    assert output["splits"]["train"] == {"samples": 6, "per_class": [3, 3], "unreadable": []}
    assert output["digest"] == load("folder", tmp_path, None).digest

    unreadable = tmp_path / "train/bee/1.png"
    unreadable.write_bytes(b"no picture")
    for name in ("folder", "pictures"):
        assert data.check(name, tmp_path, decode=True, as_json=True) == 1
        (line,) = json.loads(capsys.readouterr().out)["splits"]["train"]["unreadable"]
        assert line.startswith(f"cannot read {unreadable} as a picture")
    assert data.check("pictures", tmp_path, decode=False, as_json=True) == 0


def test_list_says_why_class_folders_are_no_cifar100(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        write_class_folders(tmp_path / split, pixels(10, 0), np.arange(10), CLASSES)
    assert data.list_datasets(tmp_path, as_json=True) == 0
    out = capsys.readouterr()
    listed = json.loads(out.out)
    assert (listed["cifar10"]["found"], listed["cifar100"]["found"]) == (True, False)
    text = " ".join(out.err.split())
    assert "has 10 class folders: cifar100 needs exactly 100" in text


def test_list_says_that_class_folders_need_not_be_cifar10(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tuple(f"kind{number}" for number in range(10))
    for split in ("train", "test"):
        write_class_folders(tmp_path / split, pixels(10, 0), np.arange(10), names)
    data.list_datasets(tmp_path, as_json=True)
    out = capsys.readouterr()
    text = (
        "10 class folders (kind0, kind1, kind2, …) of 32×32 pictures; what they show is not checked"
    )
    assert json.loads(out.out)["cifar10"]["description"] == text
    assert text in " ".join(out.err.split())

    monkeypatch.setitem(SOURCES, "cifar10", small_cifar10(tmp_path))
    data.list_datasets(tmp_path, as_json=True)
    listed = json.loads(capsys.readouterr().out)["cifar10"]
    assert (listed["found"], listed["description"]) == (True, None)


@pytest.mark.parametrize("name", ["folder", "pictures"])
def test_check_names_a_pipe_instead_of_reading_it(name: str, tmp_path: Path) -> None:
    write_pictures(tmp_path)
    os.mkfifo(tmp_path / "train/bee/pipe.png")
    process = call_command("data", "check", name, "--data-dir", tmp_path)
    assert process.returncode == 1
    assert f"cannot read {tmp_path}/train/bee/pipe.png, which is no regular file" in process.stdout
    assert "Number of pictures that cannot be decoded: 1." in process.stdout


def test_check_names_the_checksums_that_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = small_cifar10(tmp_path)
    archive = source.archive
    monkeypatch.setitem(SOURCES, "cifar10", source)
    assert data.check("cifar10", tmp_path, decode=True, as_json=False) == 0
    page = capsys.readouterr().out.replace("\n", " ")
    assert (
        f"{archive.file_name} and each file in it have their published md5 ({archive.md5})" in page
    )
    assert "All pictures can be read." in page
    with (tmp_path / archive.file_name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="is damaged or incomplete"):
        data.check("cifar10", tmp_path, decode=True, as_json=False)


def test_check_and_noise_download_what_a_dry_run_reports_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = small_cifar10(tmp_path)
    monkeypatch.setitem(SOURCES, "cifar10", source)

    def fetch(_urls: Sequence[str], target: Path, _md5: str, _progress: Progress) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / source.archive.file_name, target)

    monkeypatch.setattr(trainables.datasets.download, "fetch", fetch)
    study = tmp_path / "mine.yaml"
    study.write_text("extends: cifar10\ntitle: mine\nrecipe: {batch_size: 8}\n")
    commands = {
        ("sweep", study, "--dry-run"): 2,
        ("data", "check", "cifar10"): 0,
        ("noise", study, "--seed", 0): 0,
    }
    for number, (command, exit_code) in enumerate(commands.items()):
        home = tmp_path / f"home{number}"
        process = call_command(*command, "--home", home)
        assert process.returncode == exit_code, process.stderr
        assert (home / "data" / source.archive.file_name).exists() is (exit_code == 0)
        if exit_code:
            advice = "download it with `python -m orchestrator data prepare cifar10 --data-dir /"
            assert advice in process.stderr


@pytest.mark.slow
def test_an_unreadable_picture_is_refused_or_skipped(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    (tmp_path / "train/bee/1.png").write_bytes(b"no picture")
    study = tmp_path / "mine.yaml"
    study.write_text(
        "extends: digits\ntitle: mine\ndataset: folder\nscenarios: [clean]\n"
        "methods: [ce]\ntune: []\nconfirm: {hold_out: false}\nrecipe: {epochs: 2, window: 1}\n"
    )
    command = ("train", study, "--method", "ce", "--data-dir", tmp_path, "--home", tmp_path / "h")
    failed = call_command(*command)
    assert failed.returncode == 2
    (line,) = failed.stderr.strip().splitlines()
    assert f"cannot read {tmp_path}/train/bee/1.png as a picture" in line
    assert "unreadable: skip" in line

    process = call_command(*command, "--set", "unreadable=skip", "--json")
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    assert result["skipped"] == 1
    assert result["labels"]["count"] == 6


def test_prepare_decodes_into_the_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "d")
    assert data.prepare("folder", tmp_path / "d", Home(tmp_path / "h")) == 0
    assert "is ready: 6 to train, 2 to test" in capsys.readouterr().out
    assert list((tmp_path / "h/cache").glob("folder-*/train_images.npy"))


@pytest.mark.parametrize(
    "name", [name for name, source in SOURCES.items() if source.layout[0] != "n"]
)
def test_a_missing_dataset_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(name, tmp_path, None)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_dataset_name_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown dataset 'cifar': did you mean 'cifar1"):
        data.check("cifar", tmp_path, decode=True, as_json=False)
    with pytest.raises(UserError, match="unknown dataset 'nope': known: animal10n, "):
        data.check("nope", tmp_path, decode=True, as_json=False)
