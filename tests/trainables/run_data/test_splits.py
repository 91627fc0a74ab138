"""Trainings on picture files with several test splits and a validation split."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from layouts import save_jpeg
from PIL import Image
from small_runs import CPU, assert_same_bits, bits, complete_run, digits, runnable
from torch import nn

from trainables.backbones import BACKBONES, Backbone
from trainables.backbones.base import Body
from trainables.datasets.base import Dataset, Split
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError
from trainables.run.parameters import FrozenMap
from trainables.run.recipe import Recipe
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec

CROP, K = 16, 6


class Tiny(Backbone):
    """A small convolutional network."""

    name = "tiny"
    title = "tiny"
    source = "these tests"

    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:  # noqa: ARG002
        assert image_shape == (3, CROP, CROP)
        layers = (nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        return Body(nn.Sequential(*layers, nn.Dropout(0.3)), nn.Identity, 32)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "tiny", Tiny())


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    def split(name: str, count: int) -> Split:
        for n in range(count):
            save_jpeg(tmp_path / name / f"{n:02d}.jpg", n, 20 + n % 3, 26)
        names = [f"{n:02d}.jpg".encode() for n in range(count)]
        return Split(Pictures.from_names(tmp_path / name, names), np.arange(count) % K)

    return Dataset(
        "made up",
        tuple("abcdef"),
        split("train", 40),
        split("test", 12),
        test_name="first",
        other_test_splits={"second": split("second", 18)},
        validation=split("validation", 6),
        top_k=(1, 5),
    )


def spec_of(dataset: Dataset, **changes: Any) -> RunSpec:
    recipe = Recipe(
        epochs=changes.pop("epochs", 3),
        batch_size=8,
        learning_rate=0.05,
        window=1,
        augmentation=("crop", "flip"),
        crop_size=CROP,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    options = {"scenario": "clean", "recipe": recipe, "backbone": "tiny", **changes}
    spec = runnable(dataset, backbone_parameters=FrozenMap(), **options)
    return replace(spec, evaluate=("val", "clean_val", "test"))


def trained(spec: RunSpec, dataset: Dataset) -> Trainer:
    trainer = Trainer(spec, dataset, CPU)
    while not trainer.done:
        trainer.train_epoch()
    return trainer


def label_ranks(trainer: Trainer, split: Split) -> np.ndarray:
    """Return the rank of each picture's label among the logits, computed in a plain loop."""
    assert isinstance(split.images, Pictures)
    ranks = []
    trainer.network.eval()
    for n, label in enumerate(split.labels):
        with Image.open(split.images.path(n)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        top, left = (round((side - CROP) / 2) for side in pixels.shape[:2])
        cut = pixels[top : top + CROP, left : left + CROP].transpose(2, 0, 1)
        inputs = torch.from_numpy((cut[None] / 255 - 0.5) / 0.25).float()
        with torch.no_grad():
            logits = trainer.network(inputs)[0][0]
        ranks.append(int((logits > logits[label]).sum()))
    return np.array(ranks)


def test_every_test_split_is_evaluated(dataset: Dataset) -> None:
    trainer = trained(spec_of(dataset), dataset)
    row = trainer.trace[-1]

    assert row["test/accuracy"] == row["test/first/top1"]
    for name, split in dataset.test_splits.items():
        ranks = label_ranks(trainer, split)
        for k in (1, 5):
            # A tie within rounding may fall either way between two decoders.
            expected = float(np.mean(ranks < k))
            assert row[f"test/{name}/top{k}"] == pytest.approx(expected, abs=1.01 / len(split))
    assert dataset.validation is not None
    clean = float(np.mean(label_ranks(trainer, dataset.validation) < 1))
    assert row["clean_val/accuracy"] == pytest.approx(clean, abs=1.01 / 6)
    assert "val/accuracy" in row


def test_a_subset_of_every_test_split_is_evaluated(dataset: Dataset) -> None:
    trainer = Trainer(replace(spec_of(dataset), test_subset=12), dataset, CPU)
    loaders = trainer.data.evaluation_loaders
    assert len(loaders["test/accuracy"]) == 12
    second = loaders["test/second/top1"]
    assert np.bincount(dataset.test_splits["second"].labels[second.index]).tolist() == [2] * K


def test_an_interruption_changes_no_bit_with_files_and_dropout(dataset: Dataset) -> None:
    spec = spec_of(dataset)
    expected = trained(spec, dataset)
    for after in (1, 2):
        first = Trainer(spec, dataset, CPU)
        for _ in range(after):
            first.train_epoch()
        torch.rand(17)  # other code may use the generator in between
        second = Trainer(spec, dataset, CPU)
        second.load_state_dict(first.state_dict())
        while not second.done:
            second.train_epoch()
        assert_same_bits(bits(second.state_dict()), bits(expected.state_dict()))


def test_unreadable_pictures_are_counted_in_the_record(dataset: Dataset, tmp_path: Path) -> None:
    images = dataset.train.images
    assert isinstance(images, Pictures)
    spec = replace(spec_of(dataset), hold_out=0.0, evaluate=("test",))
    with open(images.path(3), "wb") as file:  # noqa: PTH123
        file.write(b"no picture")
    with pytest.raises(DataError, match=r"03\.jpg"):
        complete_run(spec, tmp_path / "h", lambda: dataset, "t")
    skips = replace(spec, unreadable="skip")
    result = complete_run(skips, tmp_path / "h", lambda: dataset, "t")
    assert result.skipped == 1
    assert result.status == "finished"


def test_small_images_that_could_not_be_decoded_are_left_out() -> None:
    whole = digits()
    broken = replace(
        whole, digest=whole.digest, train=replace(whole.train, unreadable={5: "cannot read five"})
    )
    spec = replace(runnable(), hold_out=0.0, evaluate=("test",))
    with pytest.raises(DataError, match="cannot read five"):
        Trainer(spec, broken, CPU)
    trainer = Trainer(replace(spec, unreadable="skip"), broken, CPU)
    assert len(trainer.data.train) == 1436
    assert 5 not in trainer.data.train.index
    assert trainer.skipped_count == 1


def test_the_split_is_recorded(dataset: Dataset, tmp_path: Path) -> None:
    spec = spec_of(dataset, epochs=1)
    result = complete_run(spec, tmp_path, lambda: dataset, "t")
    training, _ = Trainer(spec, dataset, CPU).labels.hold_out(spec.hold_out, spec.seeds.split)
    assert result.split == hashlib.sha256(training.astype("<i8").tobytes()).hexdigest()
    other = replace(spec, seeds=replace(spec.seeds, split=1))
    assert complete_run(other, tmp_path, lambda: dataset, "t").split != result.split


def test_picture_files_need_mean_and_std(dataset: Dataset) -> None:
    spec = spec_of(dataset)
    with pytest.raises(DataError, match="the recipe must set mean and std"):
        Trainer(replace(spec, recipe=replace(spec.recipe, mean=None, std=None)), dataset, CPU)


def test_a_dataset_without_validation_uses_the_held_out_samples_with_their_true_labels() -> None:
    spec = replace(runnable(), evaluate=("clean_val",))
    trainer = Trainer(spec, digits(), CPU)
    loader = trainer.data.evaluation_loaders["clean_val/accuracy"]
    np.testing.assert_array_equal(loader.labels.numpy(), digits().train.labels[loader.index])
    with pytest.raises(DataError, match="'digits' has no validation split, and the run holds out"):
        Trainer(replace(spec, hold_out=0.0), digits(), CPU)
