"""Trainings on a user's own pictures and arrays, with the study that the README shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from layouts import random_pixels, save_jpeg

from orchestrator.commands import sweep, train
from orchestrator.flags import Locations, StudyFlags

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

CLASSES = ("ant", "bee", "wasp")
COUNTS = {"train": 8, "test": 3}
"""Number of pictures of each class, by split."""
STUDY = """
extends: cifar10
title: My pictures
scenarios: [symmetric-0.25]
recipe:
  epochs: 2
  window: 1
  evaluate_every: 1
  batch_size: 8
  precision: float32
  mean: null
  std: null
methods: [ce, nal]
hyperparameters:
  nal: {first_target_epoch: 1, target_interval: 1}
tune: []
overrides: []
resources: {gpus: 0}
"""
STUDIES = {
    "folder": "dataset: folder\n",
    "npz": "dataset: npz\nbackbone: {name: mlp}\n",
    "pictures": "dataset: pictures\nbackbone: {name: resnet50}\n",
}
PICTURES = """
  mean: [0.5, 0.5, 0.5]
  std: [0.25, 0.25, 0.25]
  crop_size: 64
"""


def write_folders(root: Path, *, any_size: bool) -> None:
    for number, (split, label) in enumerate(
        (split, label) for split, count in COUNTS.items() for label in CLASSES * count
    ):
        size = (40 + 7 * number, 70 + 3 * number) if any_size else (32, 32)
        save_jpeg(root / split / label / f"{number:03d}.jpg", number, *size)


def write_arrays(root: Path) -> None:
    arrays: dict[str, Any] = {"classes": np.array(CLASSES)}
    for split, count in COUNTS.items():
        pixels = [random_pixels(number, 20, 24) for number in range(count * len(CLASSES))]
        arrays[f"x_{split}"] = np.stack(pixels)
        arrays[f"y_{split}"] = np.arange(len(pixels)) % len(CLASSES)
    root.mkdir()
    np.savez(root / "data.npz", **arrays)


def own_study(dataset: str, tmp_path: Path) -> tuple[StudyFlags, Locations]:
    """Write data and a study that uses them, and return the flags of its commands."""
    data = tmp_path / "data"
    if dataset == "npz":
        write_arrays(data)
    else:
        write_folders(data, any_size=dataset == "pictures")
    study = tmp_path / "mine.yaml"
    pictures_study = STUDY.replace("  mean: null\n  std: null\n", PICTURES.lstrip("\n"))
    study.write_text(STUDIES[dataset] + (pictures_study if dataset == "pictures" else STUDY))
    return StudyFlags(str(study)), Locations(data_dir=data, home_dir=tmp_path / "home")


@pytest.mark.parametrize("dataset", STUDIES)
def test_one_run(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = own_study(dataset, tmp_path)
    assert train.run(*flags, "nal", 0, as_json=True) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["status"] == "finished"
    assert [row["epoch"] for row in result["trace"]] == [1, 2]
    assert result["labels"]["flip_rate"] == 6 / 24  # of the labels that count as true


@pytest.mark.parametrize("dataset", ["npz", "pictures"])
def test_the_plan_states_what_its_cost_excludes(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = own_study(dataset, tmp_path)
    assert sweep.run(*flags, yes=False, as_json=False, dry_run=True) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert ("the time to decode the images is not included" in output) == (dataset == "pictures")
