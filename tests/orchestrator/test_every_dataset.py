"""One run of each dataset's study, on files in the exact layout of its distributor."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from layouts import write_animal10n, write_cifar_human, write_clothing1m, write_webvision
from small_cifar import small_cifar10, small_cifar100

from orchestrator.commands import train
from orchestrator.flags import Locations, StudyFlags
from trainables.backbones import backbone_of
from trainables.datasets import SOURCES
from trainables.datasets.cifar_human import Cifar100N

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainables.datasets import Source

pytestmark = pytest.mark.slow

WRITERS: dict[str, Callable[[Path], Source]] = {
    "cifar10": small_cifar10,
    "cifar100": small_cifar100,
    "cifar10n": write_cifar_human,
    "cifar100n": lambda folder: write_cifar_human(folder, Cifar100N),
    "animal10n": lambda folder: write_animal10n(folder, "raw"),
    "clothing1m": write_clothing1m,
    "webvision": write_webvision,
}
SHORT = (
    *("recipe.epochs=1", "recipe.window=1", "recipe.evaluate_every=1", "recipe.batch_size=32"),
    *("recipe.precision=float32", "resources.gpus=0", "search.hold_out=0.2"),
    *("hyperparameters.nal.first_target_epoch=1", "hyperparameters.nal.target_interval=1"),
)
MEMORISING_POSTERIOR = (
    *("posterior.backbone={name: mlp}", "posterior.recipe.learning_rate=0.002"),
    *("posterior.recipe.batch_size=8", "posterior.recipe.epochs=40"),
    "posterior.recipe.augmentation=[]",
)
"""Settings of a network that memorises random pictures, which PMD noise requires."""
CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "cifar10": ("cifar10", "resnet34", ("overrides=[]", "subset=90")),
    "cifar100": ("cifar100", "resnet34", ("overrides=[]", "subset=90")),
    "cifar10-pmd": ("cifar10", "preact34", ("subset=90", *MEMORISING_POSTERIOR)),
    "cifar10n": ("cifar10n", "resnet34", ("subset=90",)),
    "cifar100n": ("cifar100n", "resnet34", ("subset=90",)),
    "cifar10-small": ("cifar10", "resnet-w16", ("subset=90",)),
    "animal10n": ("animal10n", "vgg19-bn", ("recipe.batch_size=8",)),
    "clothing1m": ("clothing1m", "resnet50", ("subset=14",)),
    "webvision": ("webvision", "inception-resnet-v2", ()),
}


def train_nal(
    study: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> dict[str, Any]:
    """Run `train STUDY --method nal` on small data and return its JSON output."""
    dataset, _, sets = CASES[study]
    source = WRITERS[dataset](tmp_path / "data")
    monkeypatch.setitem(SOURCES, dataset, source)
    study_flags = StudyFlags(study, methods=("nal",), sets=(*SHORT, *sets))
    locations = Locations(data_dir=tmp_path / "data", home_dir=tmp_path / "home")
    try:
        assert train.run(study_flags, locations, "nal", 0, as_json=True) == 0
    finally:
        shutil.rmtree(tmp_path / "home", ignore_errors=True)  # checkpoints of up to 1 GB
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.mark.parametrize("study", CASES)
def test_one_run_of_each_study(
    study: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = train_nal(study, tmp_path, monkeypatch, capsys)
    dataset, backbone, _ = CASES[study]
    spec = result["spec"]
    assert result["status"] == "finished"
    assert (spec["dataset"], spec["backbone"]) == (dataset, backbone)
    assert backbone_of(backbone).title
    (row,) = result["trace"]
    assert 0 <= row["test/accuracy"] <= 1
    real = dataset in ("animal10n", "clothing1m", "webvision")
    assert (result["labels"]["flip_rate"] is None) == real
    assert ("train/accuracy_true" in row) != real
    assert ("clean_val/accuracy" in row) == (dataset == "clothing1m")
    further = {name for name in row if name.startswith("test/") and name != "test/accuracy"}
    expected = {f"test/{s}/top{k}" for s in ("webvision", "imagenet") for k in (1, 5)}
    assert further == (expected if dataset == "webvision" else set())
    if further:
        assert row["test/accuracy"] == row["test/webvision/top1"]
        assert row["test/imagenet/top5"] == 1.0  # of three classes
