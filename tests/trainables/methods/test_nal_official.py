"""NAL with the settings of the public code, compared with a transcription of its formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trainables.errors import FieldError
from trainables.methods import Batch, Context, method_of
from trainables.methods.nal import NoiseAttentionLearning, clamped_losses, reverse_loss
from trainables.methods.published import matching
from trainables.run.parameters import complete

CLASSES = (2, 10, 100)


class PublicCode:
    """The public code's loss in float32 NumPy."""

    def __init__(self, labels: np.ndarray, classes: int, boost: float, beta: float) -> None:
        self.es, self.momentum, self.boost, self.beta = 60, np.float32(0.9), boost, beta
        self.table = np.zeros((len(labels), classes), np.float32)
        self.table[np.arange(len(labels)), labels] = 1
        self.labels = labels

    def __call__(self, z: np.ndarray, h: np.ndarray, index: np.ndarray, epoch: int) -> float:
        z, h = z.astype(np.float32), h.astype(np.float32)
        exp = np.exp(z - z.max(1, keepdims=True))
        softmax = exp / exp.sum(1, keepdims=True)
        one = np.float32(1)
        p = np.clip(softmax, np.float32(1e-12), one)
        with np.errstate(over="ignore"):
            tau = np.clip(one / (one + np.exp(-h)), np.float32(1e-12), one)[:, None]
        if epoch < self.es:
            row = np.clip(self.table[index], np.float32(1e-4), one)
        else:
            if epoch % 10 == 0:
                self.table[index] = (
                    self.momentum * self.table[index] + (one - self.momentum) * softmax
                )
                self.table = np.clip(self.table, np.float32(1e-4), None)
            row = self.table[index]
        pred = np.clip(tau * p + (one - tau) * row, np.float32(1e-7), one)
        main = -(row * np.log(pred)).sum(1).mean()
        boost = -np.log(tau).mean()
        reverse = -(pred * np.log(row)).sum(1).mean()
        return float(main + self.boost * boost + self.beta * reverse)


def official(labels: np.ndarray, classes: int, boost: float, beta: float) -> NoiseAttentionLearning:
    setting = matching(NoiseAttentionLearning.presets["official"], "cifar10", "symmetric-0.4")
    assert setting is not None
    options = {**setting.values, "lambda": boost, "alpha": 0.9, "beta": beta}
    values = complete("method nal", NoiseAttentionLearning.parameters, options)
    return NoiseAttentionLearning(Context(values, torch.from_numpy(labels), classes, 100, seed=0))


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize(("boost", "beta"), [(0.5, 0.0), (10.0, 0.0), (50.0, 0.1)])
@pytest.mark.parametrize("scale", [1.0, 4.0, 60.0])
def test_loss_matches_the_public_code_around_target_updates(
    classes: int, boost: float, beta: float, scale: float
) -> None:
    random = np.random.default_rng(classes)
    count = 12
    labels = random.integers(0, classes, count)
    reference = PublicCode(labels, classes, boost, beta)
    method = official(labels, classes, boost, beta)
    moved = []
    for epoch in (1, 58, 59, 60, 61, 69, 70, 71, 80):
        before = method.targets.clone()
        for index in np.split(random.permutation(count), 3):
            z = scale * random.standard_normal((4, classes)).astype(np.float32)
            h = scale * random.standard_normal(4).astype(np.float32)
            expected = reference(z, h, index, epoch)
            batch = Batch(torch.from_numpy(z), torch.from_numpy(h), torch.from_numpy(index), epoch)
            assert float(method.loss(batch)) == pytest.approx(expected, rel=2e-5, abs=2e-6)
        if not torch.equal(before, method.targets):
            moved.append(epoch)
            assert float(method.targets.min()) >= np.float32(1e-4)
        np.testing.assert_allclose(method.targets.numpy(), reference.table, rtol=1e-5, atol=1e-7)
    assert moved == [60, 70, 80]


def test_clamped_label_rows_are_not_normalised() -> None:
    for classes in CLASSES:
        labels = np.zeros(3, np.int64)
        method = official(labels, classes, 1.0, 0.0)
        # At τ = 1 the loss of a uniform prediction is log K times the sum of the row.
        batch = Batch(torch.zeros(3, classes), torch.full((3,), 40.0), torch.arange(3), 1)
        row_sum = 1 + (classes - 1) * 1e-4
        assert float(method.loss(batch)) == pytest.approx(row_sum * math.log(classes), rel=1e-6)


@pytest.mark.parametrize(("classes", "excess"), [(10, 8.1e-4), (100, 8.9e-3)])
def test_label_floor_reverses_the_gradient_of_a_well_fitted_sample(
    classes: int, excess: float
) -> None:
    """The floor reverses the sign of the labelled logit's gradient at a margin of 15."""
    z = torch.zeros(1, classes, dtype=torch.float64)
    z[0, 0] = 15
    z.requires_grad_()
    row = torch.full((1, classes), 1e-4, dtype=torch.float64)
    row[0, 0] = 1
    attended, _, _ = clamped_losses(z, torch.tensor([8.0], dtype=torch.float64), row)
    (gradient,) = torch.autograd.grad(attended.sum(), z)
    assert gradient[0, 0].item() == pytest.approx(excess, rel=0.05)


def test_gradient_is_zero_below_the_clamp() -> None:
    h = torch.tensor([-30.0, -20.0]).requires_grad_()
    row = torch.tensor([[1.0, 1e-4]]).repeat(2, 1)
    _, boosted, _ = clamped_losses(torch.zeros(2, 2), h, row)
    (gradient,) = torch.autograd.grad(boosted.sum(), h)
    assert gradient[0].item() == 0
    assert gradient[1].item() == pytest.approx(-1)


def test_reverse_term_has_the_label_floor_of_sce() -> None:
    z = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    h = torch.tensor([0.4], dtype=torch.float64)
    t = torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    mixture = h.sigmoid() * z.softmax(1) + (1 - h.sigmoid()) * t
    expected = -math.log(1e-4) * (1 - mixture[0, 0].item())
    assert -math.log(1e-4) == pytest.approx(9.2103, abs=1e-4)
    assert reverse_loss(z, h, t).item() == pytest.approx(expected, rel=1e-12)


def test_targets_are_updated_only_above_delta() -> None:
    labels = np.arange(3)
    values = complete("method nal", NoiseAttentionLearning.parameters, {"delta": 0.5})
    method = NoiseAttentionLearning(Context(values, torch.from_numpy(labels), 3, 5, seed=0))
    before = method.targets.clone()
    attention = torch.tensor([-1.0, 1.0, 2.0])
    method.loss(Batch(torch.randn(3, 3), attention, torch.arange(3), 1))
    moved = (method.targets != before).any(dim=1)
    assert moved.tolist() == [False, True, True]


def test_schedule_with_nan_loss_in_the_public_code_is_refused() -> None:
    parameters = NoiseAttentionLearning.parameters
    options = {"first_target_epoch": 65, "target_interval": 10, "clamps": True}
    values = complete("method nal", parameters, options)
    with pytest.raises(FieldError) as caught:
        NoiseAttentionLearning.check(values, 100)
    assert caught.value.field == "first_target_epoch"
    assert caught.value.message == (
        "first_target_epoch 65 is no multiple of target_interval 10: with clamps, as in the public "
        "code, zeros of the labels would not be clamped before their logarithm, and the loss would "
        "be NaN; choose 70, or clamps false"
    )
    unclamped = complete("method nal", parameters, {**options, "clamps": False})
    NoiseAttentionLearning.check(unclamped, 100)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("cifar10", {"first_target_epoch": 60, "target_interval": 10}),
        ("cifar100", {"first_target_epoch": 60, "target_interval": 10}),
        ("animal10n", {"first_target_epoch": 41, "target_interval": 1}),
        ("clothing1m", {"first_target_epoch": 60, "target_interval": 10, "beta": 0.1}),
        ("webvision", {"first_target_epoch": 200, "target_interval": 10, "beta": 0.1}),
    ],
)
def test_official_preset_by_dataset(dataset: str, expected: dict[str, float]) -> None:
    setting = matching(method_of("nal").presets["official"], dataset, "human")
    assert setting is not None
    assert dict(setting.values) == {**expected, "clamps": True, "delta": 0.0}


def test_official_preset_is_empty_for_other_datasets() -> None:
    assert matching(method_of("nal").presets["official"], "digits", "symmetric-0.4") is None
