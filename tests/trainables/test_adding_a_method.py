"""Example of docs/adding-a-method.md, in a file beside a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from documents import shown_files, write_shown_files
from small_runs import CPU, digits, recipe, runnable

from search_spaces.loader import load_study
from trainables.methods import Batch, Context, Method, method_of
from trainables.run.parameters import Space, complete_parameters
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from search_spaces.schema import Study

DOCUMENT = "docs/adding-a-method.md"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """The document's study."""
    path = write_shown_files(DOCUMENT, tmp_path)
    return load_study(str(path), is_allowed=lambda _file: True).study


@pytest.fixture
def method(study: Study) -> type[Method]:
    """The document's method."""
    return method_of(study.methods[-1])


def test_the_example_is_short() -> None:
    lines = shown_files(DOCUMENT)["my_loss.py"].splitlines()
    assert len([line for line in lines if line.strip()]) <= 32


def test_the_loss_is_cross_entropy_with_smoothed_labels(method: type[Method]) -> None:
    labels = torch.tensor([0, 2, 1])
    values = complete_parameters(method.name, method.parameters, {"smoothing": 0.3})
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    targets = 0.7 * np.eye(3)[labels.numpy()] + 0.3 / 3
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    expected = -(targets * np.log(p)).sum(1).mean()

    instance = method(Context(values, labels, 3, 2, seed=0))
    loss = instance.loss(Batch(logits, torch.zeros(3), torch.arange(3), 1))

    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_method_trains(method: type[Method]) -> None:
    trainer = Trainer(runnable(method=method.name, recipe=recipe(2)), digits(), CPU)
    first = trainer.train_epoch()
    second = trainer.train_epoch()
    assert second["train/loss"] < first["train/loss"]
    assert second["test/accuracy"] > 0.3


def test_the_study_tunes_the_method(study: Study, method: type[Method]) -> None:
    assert study.tune == ("nal", method.name)
    assert study.space_of(method.name) == {"smoothing": Space(0.01, 0.9)}
    assert method.title == "Label smoothing"
