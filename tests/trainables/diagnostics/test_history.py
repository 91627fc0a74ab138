from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from small_runs import CPU, complete_run, digits, recipe, runnable

from trainables.diagnostics.collector import Collector
from trainables.diagnostics.history import PredictionHistory
from trainables.diagnostics.store import load_diagnostics
from trainables.run.record import Record
from trainables.training.trainer import Trainer
from trainables.training.training_run import TrainingRun

if TYPE_CHECKING:
    from pathlib import Path


def test_averages_are_those_of_the_epochs_in_which_a_sample_is_seen() -> None:
    history = PredictionHistory(torch.tensor([0, 1, 2]), 3)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, generator=generator)  # a fourth output is no class
    for epoch, count in ((1, 3), (2, 2)):
        order = torch.tensor([2, 0, 1])[:count]
        for position in order:
            history.record_step(position[None], logits[epoch - 1, position][None])
        history.end_epoch(epoch)
    arrays = history.arrays()
    assert arrays["history/epochs"].tolist() == [2, 1, 2]
    for sample, epochs in ((0, 2), (1, 1), (2, 2)):
        seen = logits[:epochs, sample, :3]
        probabilities = seen.softmax(1).mean(0)
        others = seen[:, [one for one in range(3) if one != sample]]
        np.testing.assert_allclose(
            arrays["history/probabilities"][sample], probabilities, atol=1e-3
        )
        assert arrays["history/label_probability"][sample] == pytest.approx(
            float(probabilities[sample])
        )
        assert arrays["history/margin"][sample] == pytest.approx(
            float((seen[:, sample] - others.amax(1)).mean()), rel=1e-5
        )
        wrong = int((seen.argmax(1) != sample).sum())
        assert arrays["history/disagreements"][sample] == wrong


def test_every_epoch_of_a_run_counts_whatever_the_interval_of_collections() -> None:
    trainer = Trainer(runnable(method="ce", recipe=recipe(5)), digits(), CPU)
    collector = Collector.from_trainer(trainer, 4)
    accuracy = []
    while not trainer.done:
        accuracy.append(trainer.train_epoch(collector)["train/accuracy"])
    arrays = collector.arrays()
    assert arrays["epochs"].tolist() == [1, 4, 5]
    assert set(arrays["history/epochs"].tolist()) == {5}
    rate = arrays["history/disagreements"].sum() / 5 / len(trainer.data.train)
    assert rate == pytest.approx(1 - np.mean(accuracy), abs=1e-3)


def test_a_killed_and_continued_run_has_the_same_history(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(4))
    complete_run(spec, tmp_path / "whole", digits)
    with TrainingRun(spec, tmp_path / "killed", digits, "study", 0.0) as run:
        run.advance()
        run.advance()
    complete_run(spec, tmp_path / "killed", digits)
    whole, killed = (
        load_diagnostics(Record(tmp_path / name, spec.digest).folder)
        for name in ("whole", "killed")
    )
    assert whole is not None
    assert killed is not None
    names = [name for name in whole.arrays if name.startswith("history/")]
    assert len(names) == 5
    for name in names:
        np.testing.assert_array_equal(killed[name], whole[name])


def test_a_checkpoint_of_an_earlier_version_gives_no_history() -> None:
    """Averages over the later epochs alone would be taken for those of all epochs."""
    trainer = Trainer(runnable(recipe=recipe(3)), digits(), CPU)
    collector = Collector.from_trainer(trainer, 1)
    trainer.train_epoch(collector)
    state = collector.state_dict()
    del state["history"]
    continued = Collector.from_trainer(trainer, 1)
    continued.load_state_dict(state)
    while not trainer.done:
        trainer.train_epoch(continued)
    arrays = continued.arrays()
    assert not [name for name in arrays if name.startswith("history/")]
    assert "loss" in arrays
