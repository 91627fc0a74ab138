"""What is collected of a real run, and that the run does not notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from small_runs import CPU, assert_same_bits, bits, digits, recipe, runnable

from trainables.diagnostics.collector import Collector, cadence
from trainables.diagnostics.reduce import weight
from trainables.diagnostics.store import load, save
from trainables.errors import RecordError
from trainables.methods import Batch
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def watched(
    method: str = "nal", epochs: int = 6, every: int = 2, **options: object
) -> tuple[Trainer, Collector]:
    spec = runnable(**{"method": method, "recipe": recipe(epochs), **options})
    trainer = Trainer(spec, digits(), CPU)
    collector = Collector.of(trainer, every)
    while not trainer.done:
        trainer.train_epoch(collector)
    return trainer, collector


@pytest.mark.parametrize(
    ("epochs", "wanted", "every"),
    [(60, None, 3), (500, None, 25), (7, None, 1), (60, 10, 10), (60, 0, 0)],
)
def test_the_cadence(epochs: int, wanted: int | None, every: int) -> None:
    assert cadence(epochs, wanted) == every


def test_it_watches_the_first_the_last_and_every_so_many() -> None:
    _, collector = watched(epochs=7, every=3)
    assert collector.series()["epoch"] == [1, 3, 6, 7]


@pytest.mark.parametrize("method", ["nal", "dac-abstain", "elr"])
def test_the_training_does_not_notice(method: str) -> None:
    values = {"warm_up_epochs": 2} if method == "dac-abstain" else {}
    seen, _ = watched(method, values=values)
    alone = Trainer(seen.spec, digits(), CPU)
    while not alone.done:
        alone.train_epoch()
    assert_same_bits(bits(seen.state_dict()), bits(alone.state_dict()))


def test_the_numbers_are_those_of_the_training_pass() -> None:
    """Logits, weights and gradients are kept by hand beside; autograd gives the gradient again."""
    trainer = Trainer(runnable(recipe=recipe(1), values={"lambda": 2.0}), digits(), CPU)
    count = len(trainer.data.train)
    logits = torch.zeros(count, 10)
    attention = torch.zeros(count)
    gradients = torch.zeros(count, 10)
    plain = trainer.method.loss

    def noting(batch: Batch) -> torch.Tensor:
        logits[batch.index] = batch.logits.detach()
        attention[batch.index] = batch.attention.detach()
        again = batch.logits.detach().requires_grad_()
        targets = trainer.method.estimated_targets()
        assert targets is not None
        before = targets.clone()
        loss = plain(Batch(again, batch.attention.detach(), batch.index, batch.epoch))
        (gradient,) = torch.autograd.grad(loss, again)
        gradients[batch.index] = gradient * len(batch.index)
        targets.copy_(before)
        return plain(batch)

    trainer.method.loss = noting  # type: ignore[method-assign]
    collector = Collector.of(trainer, 1)
    trainer.train_epoch(collector)
    arrays = collector.arrays()
    given, true = arrays["given"], arrays["true"]
    wrong = given != true
    predicted = logits.argmax(1).numpy()
    series = {name: values[0] for name, values in collector.series().items()}

    np.testing.assert_array_equal(arrays["predicted"][0], predicted)
    np.testing.assert_allclose(arrays["attention"][0], attention.numpy(), rtol=1e-3, atol=1e-4)
    assert series["mislabelled/memorised"] == pytest.approx((predicted == given)[wrong].mean())
    assert series["clean/correct"] == pytest.approx((predicted == true)[~wrong].mean())
    norms = gradients.abs().sum(1).numpy()
    assert series["gradient/clean"] == pytest.approx(norms[~wrong].mean(), rel=1e-5)
    label = gradients.numpy()[np.arange(count), given]
    assert series["gradient_label/mislabelled"] == pytest.approx(label[wrong].mean(), rel=1e-5)
    assert series["attention/clean"] == pytest.approx(
        weight(attention.numpy())[~wrong].mean(), rel=1e-5
    )
    np.testing.assert_array_equal(arrays["position"], trainer.data.train.index)
    np.testing.assert_array_equal(given, trainer.data.train.labels.numpy())
    np.testing.assert_array_equal(true, digits().train.labels[trainer.data.train.index])


def test_the_last_epoch_has_the_methods_targets() -> None:
    trainer, collector = watched()
    arrays = collector.arrays()
    targets = trainer.method.estimated_targets()
    assert targets is not None
    np.testing.assert_array_equal(arrays["target"], targets.argmax(1).numpy())
    np.testing.assert_allclose(arrays["target_probability"], targets.max(1).values, rtol=1e-5)
    corrected = arrays["matrix/corrected"]
    assert corrected.sum() == len(trainer.data.train)
    accuracy = collector.series()["correction/accuracy"][-1]
    assert np.trace(corrected) / corrected.sum() == pytest.approx(accuracy)


def test_attention_over_time_is_that_of_the_groups() -> None:
    _, collector = watched()
    arrays = collector.arrays()
    wrong = arrays["given"] != arrays["true"]
    expected = weight(arrays["attention"])[:, wrong].mean(axis=1)
    np.testing.assert_allclose(arrays["over_time/mislabelled"], expected, rtol=1e-6)
    assert arrays["over_time/easy"].shape == arrays["over_time/hard"].shape == (4,)


def test_a_method_without_weights_or_targets_says_nothing_of_them() -> None:
    _, collector = watched("ce")
    arrays = collector.arrays()
    assert not {"attention", "histogram", "last_attention", "matrix/corrected"} & set(arrays)
    assert "correction/accuracy" not in collector.series()
    assert {"loss", "target", "matrix/noisy"} <= set(arrays)


@pytest.mark.parametrize("drop_last", [False, True])
def test_it_goes_on_after_an_interruption(*, drop_last: bool) -> None:
    """Also what samples had that a later epoch leaves out with its last batch."""
    whole_trainer, whole = watched(recipe=recipe(6, batch_size=500, drop_last=drop_last))
    first = Trainer(whole_trainer.spec, digits(), CPU)
    before = Collector.of(first, 2)
    for _ in range(4):
        first.train_epoch(before)
    second = Trainer(whole_trainer.spec, digits(), CPU)
    after = Collector.of(second, 2)
    second.load_state_dict(first.state_dict())
    after.load_state_dict(before.state_dict())
    while not second.done:
        second.train_epoch(after)
    assert after.series() == whole.series()
    found, expected = after.arrays(), whole.arrays()
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_they_come_back_from_their_file(tmp_path: Path) -> None:
    _, collector = watched()
    save(tmp_path, collector)
    found = load(tmp_path)
    assert found is not None
    assert found.truth_known
    arrays: dict[str, NDArray[np.generic]] = collector.arrays()
    assert set(found.arrays) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    (tmp_path / "diagnostics.npz").write_bytes(b"PK damaged")
    with pytest.raises(
        RecordError, match=r"diagnostics.npz cannot be read .*: train the run again"
    ):
        load(tmp_path)
    assert load(tmp_path / "elsewhere") is None
