"""Diagnostics collected from a real run, and that collecting them does not change the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from small_runs import CPU, assert_same_bits, bits, digits, recipe, runnable

from trainables.diagnostics.collector import Collector, collection_interval
from trainables.diagnostics.reduce import attention_weight
from trainables.diagnostics.store import load_diagnostics, save_diagnostics
from trainables.errors import RecordError
from trainables.methods import Batch
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def train_with_collector(
    method: str = "nal", epochs: int = 6, interval: int = 2, **options: Any
) -> tuple[Trainer, Collector]:
    spec = runnable(**{"method": method, "recipe": recipe(epochs), **options})
    trainer = Trainer(spec, digits(), CPU)
    collector = Collector.from_trainer(trainer, interval)
    while not trainer.done:
        trainer.train_epoch(collector)
    return trainer, collector


@pytest.mark.parametrize(
    ("epochs", "requested", "expected"),
    [(60, None, 3), (500, None, 25), (7, None, 1), (60, 10, 10), (60, 0, 0)],
)
def test_collection_interval(epochs: int, requested: int | None, expected: int) -> None:
    assert collection_interval(epochs, requested) == expected


def test_first_last_and_every_interval_epochs_are_collected() -> None:
    _, collector = train_with_collector(epochs=7, interval=3)
    assert collector.series()["epoch"] == [1, 3, 6, 7]


@pytest.mark.parametrize("method", ["nal", "dac-abstain", "elr"])
def test_collecting_changes_no_bit_of_the_training(method: str) -> None:
    values = {"warm_up_epochs": 2} if method == "dac-abstain" else {}
    observed, _ = train_with_collector(method, values=values)
    unobserved = Trainer(observed.spec, digits(), CPU)
    while not unobserved.done:
        unobserved.train_epoch()
    assert_same_bits(bits(observed.state_dict()), bits(unobserved.state_dict()))


def test_values_are_those_of_the_training_pass() -> None:
    """Compare with values recorded in the loss function, whose gradient is computed again."""
    trainer = Trainer(runnable(recipe=recipe(1), values={"lambda": 2.0}), digits(), CPU)
    count = len(trainer.data.train)
    logits = torch.zeros(count, 10)
    attention = torch.zeros(count)
    gradients = torch.zeros(count, 10)
    original_loss = trainer.method.loss

    def recording_loss(batch: Batch) -> torch.Tensor:
        logits[batch.index] = batch.logits.detach()
        attention[batch.index] = batch.attention.detach()
        copy = batch.logits.detach().requires_grad_()
        targets = trainer.method.estimated_targets()
        assert targets is not None
        old_targets = targets.clone()
        loss = original_loss(Batch(copy, batch.attention.detach(), batch.index, batch.epoch))
        (gradient,) = torch.autograd.grad(loss, copy)
        gradients[batch.index] = gradient * len(batch.index)
        targets.copy_(old_targets)
        return original_loss(batch)

    trainer.method.loss = recording_loss  # type: ignore[method-assign]
    collector = Collector.from_trainer(trainer, 1)
    trainer.train_epoch(collector)
    arrays = collector.arrays()
    noisy_labels, true_labels = arrays["given"], arrays["true"]
    mislabelled = noisy_labels != true_labels
    predicted = logits.argmax(1).numpy()
    series = {name: values[0] for name, values in collector.series().items()}

    np.testing.assert_array_equal(arrays["predicted"][0], predicted)
    np.testing.assert_allclose(arrays["attention"][0], attention.numpy(), rtol=1e-3, atol=1e-4)
    assert series["mislabelled/memorised"] == pytest.approx(
        (predicted == noisy_labels)[mislabelled].mean()
    )
    assert series["clean/correct"] == pytest.approx((predicted == true_labels)[~mislabelled].mean())
    norms = gradients.abs().sum(1).numpy()
    assert series["gradient/clean"] == pytest.approx(norms[~mislabelled].mean(), rel=1e-5)
    label_entries = gradients.numpy()[np.arange(count), noisy_labels]
    assert series["gradient_label/mislabelled"] == pytest.approx(
        label_entries[mislabelled].mean(), rel=1e-5
    )
    assert series["attention/clean"] == pytest.approx(
        attention_weight(attention.numpy())[~mislabelled].mean(), rel=1e-5
    )
    np.testing.assert_array_equal(arrays["position"], trainer.data.train.index)
    np.testing.assert_array_equal(noisy_labels, trainer.data.train.labels.numpy())
    np.testing.assert_array_equal(true_labels, digits().train.labels[trainer.data.train.index])


def test_arrays_of_the_last_epoch_have_the_methods_targets() -> None:
    trainer, collector = train_with_collector()
    arrays = collector.arrays()
    targets = trainer.method.estimated_targets()
    assert targets is not None
    np.testing.assert_array_equal(arrays["target"], targets.argmax(1).numpy())
    np.testing.assert_allclose(arrays["target_probability"], targets.max(1).values, rtol=1e-5)
    corrected = arrays["matrix/corrected"]
    assert corrected.sum() == len(trainer.data.train)
    accuracy = collector.series()["correction/accuracy"][-1]
    assert np.trace(corrected) / corrected.sum() == pytest.approx(accuracy)


def test_attention_over_time_is_the_mean_by_group() -> None:
    _, collector = train_with_collector()
    arrays = collector.arrays()
    mislabelled = arrays["given"] != arrays["true"]
    expected = attention_weight(arrays["attention"])[:, mislabelled].mean(axis=1)
    np.testing.assert_allclose(arrays["over_time/mislabelled"], expected, rtol=1e-6)
    assert arrays["over_time/easy"].shape == arrays["over_time/hard"].shape == (4,)


def test_arrays_of_a_method_without_attention_or_targets() -> None:
    _, collector = train_with_collector("ce")
    arrays = collector.arrays()
    assert not {"attention", "histogram", "last_attention", "matrix/corrected"} & set(arrays)
    assert "correction/accuracy" not in collector.series()
    assert {"loss", "target", "matrix/noisy"} <= set(arrays)


@pytest.mark.parametrize("drop_last", [False, True])
def test_collector_continues_after_an_interruption(*, drop_last: bool) -> None:
    """The old values of samples that a later epoch leaves out must be restored too."""
    uninterrupted_trainer, uninterrupted = train_with_collector(
        recipe=recipe(6, batch_size=500, drop_last=drop_last)
    )
    first_trainer = Trainer(uninterrupted_trainer.spec, digits(), CPU)
    first = Collector.from_trainer(first_trainer, 2)
    for _ in range(4):
        first_trainer.train_epoch(first)
    second_trainer = Trainer(uninterrupted_trainer.spec, digits(), CPU)
    second = Collector.from_trainer(second_trainer, 2)
    second_trainer.load_state_dict(first_trainer.state_dict())
    second.load_state_dict(first.state_dict())
    while not second_trainer.done:
        second_trainer.train_epoch(second)
    assert second.series() == uninterrupted.series()
    actual, expected = second.arrays(), uninterrupted.arrays()
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name])


def test_save_and_load(tmp_path: Path) -> None:
    _, collector = train_with_collector()
    save_diagnostics(tmp_path, collector)
    diagnostics = load_diagnostics(tmp_path)
    assert diagnostics is not None
    assert diagnostics.true_labels_known
    arrays: dict[str, NDArray[np.generic]] = collector.arrays()
    assert set(diagnostics.arrays) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(diagnostics[name], array)
    (tmp_path / "diagnostics.npz").write_bytes(b"PK damaged")
    with pytest.raises(
        RecordError, match=r"diagnostics.npz cannot be read .*: train the run again"
    ):
        load_diagnostics(tmp_path)
    assert load_diagnostics(tmp_path / "elsewhere") is None
