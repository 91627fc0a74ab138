"""The example of docs/adding-a-method.md, as a user would add it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from small_runs import CPU, digits, recipe, runnable

from trainables.methods import METHODS, Batch, Context, Method
from trainables.run.parameters import complete
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[3] / "docs" / "adding-a-method.md"


@pytest.fixture
def example_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Method]]:
    """The class of the document's code, registered as the document says."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    path = tmp_path / "mae.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("mae", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kind: type[Method] = module.MeanAbsoluteError
    monkeypatch.setitem(METHODS, kind.name, kind)
    return kind


def test_example_has_about_thirty_lines(example_method: type[Method]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 32
    assert example_method.title == "MAE"


def test_example_loss_matches_its_formula(example_method: type[Method]) -> None:
    labels = torch.tensor([0, 2, 1])
    values = complete("mae", example_method.parameters, {"w": 0.7})
    method = example_method(Context(values, labels, 3, 2, seed=0))
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    own = p[np.arange(3), labels.numpy()]
    expected = (0.7 * (1 - own) - 0.3 * np.log(own)).mean()
    loss = method.loss(Batch(logits, torch.zeros(3), torch.arange(3), 1))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_example_trains(example_method: type[Method]) -> None:
    trainer = Trainer(runnable(method=example_method.name, recipe=recipe(2)), digits(), CPU)
    first = trainer.train_epoch()
    second = trainer.train_epoch()
    assert second["train/loss"] < first["train/loss"]
    assert second["test/accuracy"] > 0.3


def test_a_study_can_tune_the_example(example_method: type[Method]) -> None:
    from search_spaces.loader import load_study, parse_set

    sets = [parse_set("methods=[ce, mae]"), parse_set("tune=[mae]")]
    study = load_study("digits", sets).study
    assert set(study.space_of(example_method.name)) == {"w"}
