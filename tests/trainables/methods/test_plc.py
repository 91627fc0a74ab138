from __future__ import annotations

import numpy as np
import pytest
from method_harness import (
    CLASSES,
    SCALES,
    assert_finite,
    assert_loss,
    epoch_batches,
    epoch_logits,
    extreme_logits,
    log_softmax,
    make,
    one_hot,
    predict_forbidden,
    random_logits,
    ranked_labels,
    softmax,
    step,
    train_epoch,
)

from trainables.errors import FieldError
from trainables.methods import method_of
from trainables.methods.published import EpochSelection, first_match
from trainables.run.parameters import FrozenMap


def cross_entropy(z: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(z)[np.arange(len(z)), labels].mean())


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_gradient(classes: int, scale: float) -> None:
    z = random_logits(6, classes, scale)
    labels = ranked_labels(z)
    method = make("plc", labels, classes, {"first_correction_epoch": 1, "delta": 0.9})
    assert_loss(method, lambda z: cross_entropy(z, labels), z)
    method.end_epoch(1, predict_forbidden)
    p = softmax(z)
    corrected = np.where(p[np.arange(6), labels] < 0.9 * p.max(1), p.argmax(1), labels)
    assert (corrected != labels).sum() >= 3
    assert_loss(method, lambda z: cross_entropy(z, corrected), z, epoch=2)


@pytest.mark.parametrize("classes", CLASSES)
def test_extreme_logits(classes: int) -> None:
    z, labels = extreme_logits(classes)
    method = make("plc", labels, classes, {"first_correction_epoch": 1})
    assert assert_finite(method, z) == pytest.approx(cross_entropy(z, labels), rel=1e-6)
    method.end_epoch(1, predict_forbidden)
    assert method.state_dict()["labels"].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(("window", "last_delta"), [(1, 0.05), (3, 0.05), (5, 0.55)])
def test_labels_are_corrected_cumulatively(window: int, last_delta: float) -> None:
    count, classes, first = 13, 4, 3
    labels = np.arange(count) % classes
    values = {"first_correction_epoch": first, "window": window, "delta": 0.05}
    method = make("plc", labels, classes, values, epochs=16)
    current, delta, predictions, corrections = labels.copy(), 0.05, [], []
    for epoch in range(1, 17):
        z = epoch_logits(epoch, count, classes)
        expected = [
            cross_entropy(z[index], current[index]) for index in epoch_batches(epoch, count, 5)
        ]
        losses = [loss for loss, _ in train_epoch(method, epoch, count, classes)]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        predictions.append(softmax(z))
        if epoch >= first:
            f = np.mean(predictions[-window:], axis=0)
            below_delta = f[np.arange(count), current] / f.max(1) < delta
            current = np.where(below_delta, f.argmax(1), current)
            corrections.append(int(below_delta.sum()))
            if below_delta.sum() < 0.001 * count:
                delta = min(delta + 0.1, 0.9)
        state = method.state_dict()
        assert state["labels"].tolist() == current.tolist()
        assert state["delta"].item() == pytest.approx(delta, rel=1e-6)
        np.testing.assert_array_equal(method.estimated_targets(), one_hot(current, classes))
    assert sum(corrections) > 0
    # With a mean over several epochs some rounds have nothing to correct, and raise δ.
    assert delta == pytest.approx(last_delta)


def test_delta_rises_to_0_9_without_corrections() -> None:
    method = make("plc", np.array([0]), 2, {"first_correction_epoch": 1})
    actual = []
    for epoch in range(1, 9):
        step(method, np.array([[3.0, 0.0]]), epoch=epoch)
        method.end_epoch(epoch, predict_forbidden)
        actual.append(method.state_dict()["delta"].item())
    assert actual == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9])


@pytest.mark.parametrize(("wrong", "expected"), [(0, 0.4), (1, 0.4), (2, 0.3), (3, 0.3)])
def test_few_corrections_are_less_than_a_thousandth(wrong: int, expected: float) -> None:
    z = np.tile([3.0, 0.0], (2000, 1))
    labels = np.zeros(2000, np.int64)
    labels[:wrong] = 1
    method = make("plc", labels, 2, {"first_correction_epoch": 1})
    step(method, z)
    method.end_epoch(1, predict_forbidden)
    assert method.state_dict()["labels"].sum() == 0
    assert method.state_dict()["delta"].item() == pytest.approx(expected)


def test_default_first_correction_epoch_is_epoch_8_of_the_public_code() -> None:
    method = make("plc", np.array([1]), 2, epochs=180)
    for epoch in range(1, 10):
        assert method.state_dict()["labels"].tolist() == [1]
        step(method, np.array([[3.0, 0.0]]), epoch=epoch)
        method.end_epoch(epoch, predict_forbidden)
    assert method.state_dict()["labels"].tolist() == [0]


def test_first_correction_epoch_after_the_last_epoch_is_refused() -> None:
    values = FrozenMap({"first_correction_epoch": 9})
    method_of("plc").check(values, 9)
    with pytest.raises(FieldError, match="first_correction_epoch is 9, after the last epoch"):
        method_of("plc").check(values, 8)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("cifar100", {"first_correction_epoch": 9, "window": 5}),
        ("animal10n", {"first_correction_epoch": 41, "window": 10}),
        (
            "clothing1m",
            {"delta": 0.7, "first_correction_epoch": 2, "window": 5, "rule": "softmax-ratio"},
        ),
    ],
)
def test_published_values(dataset: str, expected: dict[str, float]) -> None:
    setting = first_match(method_of("plc").settings, dataset, "pmd-1-0.35")
    assert setting is not None
    assert dict(setting.values) == expected


def test_published_recipe() -> None:
    published = first_match(method_of("plc").published_recipes, "cifar100", "pmd-1-0.35")
    assert published is not None
    recipe = published.recipe
    # CIFAR-10's, which its code takes for CIFAR-100 as well.
    assert recipe.mean == (0.4914, 0.4822, 0.4465)
    assert (recipe.epochs, recipe.nesterov, recipe.weight_decay) == (180, True, 5e-4)
    actual = [recipe.schedule.rate(recipe.learning_rate, epoch) for epoch in (40, 41, 81)]
    assert actual == pytest.approx([0.01, 0.005, 0.0025])
    assert (published.hold_out, published.selection) == (0.1, EpochSelection.CLEAN)


def test_softmax_ratio_on_clothing1m_equals_a_plain_loop() -> None:
    count, classes, first, window = 60, 14, 2, 5
    labels = np.arange(count) % classes
    values = {
        "delta": 0.7,
        "first_correction_epoch": first,
        "window": window,
        "rule": "softmax-ratio",
    }
    method = make("plc", labels, classes, values, epochs=20)
    record = np.zeros((window, count, classes))
    current, delta, unsure_count, deltas = labels.copy(), 0.7, 0, []
    for epoch in range(1, 12):
        # Predictions are sure for some samples and nearly uniform for others.
        z = epoch_logits(epoch // 4, count, classes) * np.linspace(0, 2, count)[:, np.newaxis]
        step(method, z, epoch=epoch)
        method.end_epoch(epoch, predict_forbidden)
        record[(epoch - 1) % window] = softmax(z)
        if epoch >= first:
            correction_count = 0
            for i, scores in enumerate(softmax(record.mean(0))):
                top = int(scores.argmax())
                if scores[top] < 0.1:
                    unsure_count += 1
                    current[i] = top
                elif scores[current[i]] / scores[top] < delta:
                    correction_count += 1
                    current[i] = top
            if correction_count == 0:
                delta += 0.1
        deltas.append(delta)
        assert method.state_dict()["labels"].tolist() == current.tolist()
        assert method.state_dict()["delta"].item() == pytest.approx(delta)
    assert unsure_count > 0
    assert (current != labels).any()
    assert max(deltas) > 0.95  # no upper bound of 0.9
