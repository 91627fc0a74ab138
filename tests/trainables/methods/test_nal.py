"""NAL against autograd, closed forms and a plain float64 evaluation of its formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from trainables.errors import FieldError
from trainables.methods import Batch, Context, method_of
from trainables.methods.nal import (
    NoiseAttentionLearning,
    attention_loss,
    boost_loss,
    clamped_loss_terms,
    reverse_loss,
)
from trainables.methods.published import first_match
from trainables.run.parameters import complete_parameters
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASSES = (2, 10, 100)
SAMPLES = 2000


def random_inputs(
    classes: int, samples: int = SAMPLES
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits from N(0, 16), attention logits with τ uniform in (0, 1), and labels."""
    random = torch.Generator().manual_seed(classes)
    logits = 4 * torch.randn(samples, classes, generator=random, dtype=torch.float64)
    tau = torch.rand(samples, generator=random, dtype=torch.float64).clamp(1e-4, 1 - 1e-4)
    labels = torch.randint(classes, (samples,), generator=random)
    return logits, tau.logit(), labels


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).double()


def soft_targets(classes: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(100 + classes)
    return torch.randn(SAMPLES, classes, generator=random, dtype=torch.float64).mul(2).softmax(1)


def plain_loss(logits: torch.Tensor, attention: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return the attention term of eq. 3, computed directly with 0 log 0 = 0."""
    tau = attention.sigmoid().unsqueeze(1)
    mixed = tau * (logits.softmax(1) - t) + t
    return -torch.where(t > 0, t * mixed.log(), torch.zeros_like(t)).sum(1)


def gradients(
    logits: torch.Tensor, attention: torch.Tensor, targets: torch.Tensor, boost: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of the summed loss with respect to logits and attention logits."""
    z, h = logits.clone().requires_grad_(), attention.clone().requires_grad_()
    loss = attention_loss(z, h, targets) + boost * boost_loss(h)
    dz, dh = torch.autograd.grad(loss.sum(), (z, h))
    return dz, dh


def suppression(p: torch.Tensor, tau: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return φ of Theorem 1 for the class y, shape (b, 1)."""
    p_y = p.gather(1, y[:, None])
    return tau[:, None] * p_y / (1 - tau[:, None] * (1 - p_y))


@pytest.mark.parametrize("classes", CLASSES)
def test_theorem_1_holds_for_the_labelled_class(classes: int) -> None:
    logits, h, labels = random_inputs(classes)
    q = one_hot(labels, classes)
    p, tau = logits.softmax(1), h.sigmoid()
    dz, _ = gradients(logits, h, q)
    phi = suppression(p, tau, labels)

    torch.testing.assert_close(dz, phi * (p - q), rtol=0, atol=1e-12)
    assert dz.sum(1).abs().max() < 1e-12
    assert (phi > 0).all()
    assert (phi < 1).all()


@pytest.mark.parametrize("classes", CLASSES)
def test_theorem_1_fails_for_the_true_class_of_a_mislabelled_sample(classes: int) -> None:
    logits, h, labels = random_inputs(classes)
    true = (labels + 1) % classes
    q = one_hot(labels, classes)
    p = logits.softmax(1)
    dz, _ = gradients(logits, h, q)
    wrong_class_gradient = suppression(p, h.sigmoid(), true) * (p - q)

    assert (dz - wrong_class_gradient).abs().max() > 0.85


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("boost", [0.5, 10.0])
def test_gradient_of_the_attention_and_its_zero(classes: int, boost: float) -> None:
    logits, h, labels = random_inputs(classes)
    q = one_hot(labels, classes)
    p_y = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    tau = h.sigmoid()
    _, dh = gradients(logits, h, q, boost)

    expected = (1 - tau) * (tau * (1 - p_y) / (1 - tau * (1 - p_y)) - boost)
    torch.testing.assert_close(dh, expected, rtol=1e-12, atol=1e-12)

    best = boost / ((1 + boost) * (1 - p_y))
    inside = best < 1 - 1e-6
    _, at_best = gradients(logits[inside], best[inside].logit(), q[inside], boost)
    assert inside.any()
    assert at_best.abs().max() < 1e-10
    _, beyond = gradients(logits[~inside], h[~inside], q[~inside], boost)
    assert (beyond <= 0).all()  # nothing but τ = 1 is best: h is pushed up


@pytest.mark.parametrize("classes", CLASSES)
def test_gradient_for_soft_targets(classes: int) -> None:
    logits, h, _ = random_inputs(classes)
    t = soft_targets(classes)
    p, tau = logits.softmax(1), h.sigmoid().unsqueeze(1)
    w = tau * t * p / (tau * p + (1 - tau) * t)
    dz, _ = gradients(logits, h, t)

    torch.testing.assert_close(dz, p * w.sum(1, keepdim=True) - w, rtol=0, atol=1e-12)
    assert dz.sum(1).abs().max() < 1e-12


def test_gradient_is_zero_if_the_prediction_equals_the_target() -> None:
    logits, h, _ = random_inputs(10)
    dz, dh = gradients(logits, h, logits.softmax(1))

    assert dz.abs().max() < 1e-12
    assert dh.abs().max() < 1e-12


def test_limits_of_full_and_of_no_attention() -> None:
    logits, h, labels = random_inputs(10)
    for t in (one_hot(labels, 10), soft_targets(10)):
        certain = attention_loss(logits, torch.full_like(h, 60.0), t)
        cross_entropy = -(t * logits.log_softmax(1)).sum(1)
        torch.testing.assert_close(certain, cross_entropy, rtol=1e-12, atol=1e-12)
        full, _ = gradients(logits, torch.full_like(h, 60.0), t)
        torch.testing.assert_close(full, logits.softmax(1) - t, rtol=0, atol=1e-12)
        none, _ = gradients(logits, torch.full_like(h, -60.0), t)
        assert none.abs().max() < 1e-12


def test_boost_term() -> None:
    h = torch.tensor([-3.0, 0.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(boost_loss(h), -h.sigmoid().log(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("classes", CLASSES)
def test_float32_matches_a_direct_float64_evaluation(classes: int) -> None:
    logits, h, labels = random_inputs(classes)
    # What float32 inputs say is the truth here; the loss is what is compared.
    logits, h = logits.float().double(), h.float().double()
    for t in (one_hot(labels, classes), soft_targets(classes).float().double()):
        z, a = logits.clone().requires_grad_(), h.clone().requires_grad_()
        reference = plain_loss(z, a, t)
        expected = torch.autograd.grad(reference.sum(), (z, a))
        actual = gradients(logits.float(), h.float(), t.float())
        loss = attention_loss(logits.float(), h.float(), t.float())

        torch.testing.assert_close(loss.double(), reference.detach(), rtol=0, atol=2e-5)
        for gradient, expected_gradient in zip(actual, expected, strict=True):
            assert gradient.dtype == torch.float32
            torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=2e-5)


def test_extreme_inputs_stay_finite() -> None:
    rows = torch.tensor([[200.0, -200, 0], [-200, 200, 200], [0, 0, 0], [-200, -200, -200]])
    targets = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1], [0.2, 0.3, 0.5], [1e-30, 0, 1]])
    cases = [(z, h, t) for z in rows for h in (-100.0, 0.0, 100.0) for t in targets]
    z = torch.stack([z for z, _, _ in cases])
    h = torch.tensor([h for _, h, _ in cases])
    t = torch.stack([t for _, _, t in cases])

    loss = attention_loss(z, h, t) + 50 * boost_loss(h)
    assert loss.isfinite().all()
    for gradient in gradients(z, h, t, boost=50):
        assert gradient.isfinite().all()
    # No dead zone: at h = -100 the boost pulls with -λ, undiminished.
    _, dh = gradients(rows[2:3], torch.tensor([-100.0]), targets[2:3], boost=50)
    assert dh.item() == pytest.approx(-50)


def make(
    labels: torch.Tensor, classes: int, epochs: int = 10, **values: object
) -> NoiseAttentionLearning:
    named: Mapping[str, object] = {name.replace("boost", "lambda"): v for name, v in values.items()}
    hyperparameters = complete_parameters("method nal", NoiseAttentionLearning.parameters, named)
    return NoiseAttentionLearning(Context(hyperparameters, labels, classes, epochs, seed=0))


def step(
    method: NoiseAttentionLearning, logits: torch.Tensor, index: torch.Tensor, epoch: int
) -> float:
    attention = torch.linspace(-2, 2, len(index))
    return float(method.loss(Batch(logits, attention, index, epoch)))


def test_targets_follow_equation_4() -> None:
    classes, count, epochs, alpha = 5, 7, 6, 0.8
    labels = torch.arange(count) % classes
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(epochs, count, classes, generator=random)
    method = make(labels, classes, alpha=alpha)
    for epoch in range(1, epochs + 1):
        order = torch.randperm(count, generator=random)
        for index in torch.split(order, 3):
            step(method, logits[epoch - 1][index], index, epoch)

    p = logits.double().softmax(2)
    weights = torch.tensor([(1 - alpha) * alpha ** (epochs - j) for j in range(1, epochs + 1)])
    closed = alpha**epochs * one_hot(labels, classes) + torch.einsum(
        "m,mnk->nk", weights.double(), p
    )
    torch.testing.assert_close(method.targets.double(), closed, rtol=0, atol=1e-6)
    torch.testing.assert_close(method.targets.sum(1), torch.ones(count), rtol=0, atol=1e-5)


def test_targets_are_updated_in_target_epochs_only() -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    method = make(labels, 3, first_target_epoch=4, target_interval=3)
    moved = []
    for epoch in range(1, 12):
        before = method.targets.clone()
        step(method, torch.randn(1, 3), torch.tensor([1]), epoch)
        assert torch.equal(method.targets[0], before[0])  # only the batch's rows
        if not torch.equal(method.targets[1], before[1]):
            moved.append(epoch)
    assert moved == [4, 7, 10]
    assert moved == [epoch for epoch in range(1, 12) if method.updates_targets(epoch)]


def test_loss_uses_updated_targets_without_their_gradient() -> None:
    classes, alpha, boost = 4, 0.7, 2.5
    labels = torch.arange(6) % classes
    index = torch.tensor([5, 0, 2])
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(3, classes, generator=random).requires_grad_()
    h = torch.randn(3, generator=random).requires_grad_()
    method = make(labels, classes, alpha=alpha, boost=boost)
    loss = method.loss(Batch(logits, h, index, 1))
    actual = torch.autograd.grad(loss, (logits, h))

    z, a = (x.detach().double().requires_grad_() for x in (logits, h))
    moved = alpha * one_hot(labels[index], classes) + (1 - alpha) * z.detach().softmax(1)
    reference = (plain_loss(z, a, moved) - boost * a.sigmoid().log()).mean()
    expected = torch.autograd.grad(reference, (z, a))

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference.item(), rel=1e-6)
    for gradient, expected_gradient in zip(actual, expected, strict=True):
        torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=1e-6)
    frozen = make(labels, classes, alpha=alpha, boost=boost, first_target_epoch=2)
    frozen_loss = frozen.loss(Batch(logits, h, index, 1))
    assert frozen_loss.item() != pytest.approx(loss.item(), rel=1e-3)


def test_state_is_restored_from_a_state_dict() -> None:
    labels = torch.arange(4) % 3
    first, second = make(labels, 3), make(labels, 3)
    logits = torch.randn(4, 3)
    step(first, logits, torch.arange(4), 1)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})

    assert first.state_dict().keys() == {"targets"}
    assert step(first, logits, torch.arange(4), 2) == step(second, logits, torch.arange(4), 2)
    assert torch.equal(first.targets, second.targets)
    assert not torch.equal(first.targets, make(labels, 3).targets)


def test_first_target_epoch_after_the_last_epoch_is_refused() -> None:
    hyperparameters = complete_parameters(
        "method nal", NoiseAttentionLearning.parameters, {"first_target_epoch": 11}
    )
    NoiseAttentionLearning.check(hyperparameters, 11)
    with pytest.raises(
        FieldError, match=r"is 11, after the last epoch \(10\): .* 1 to 10"
    ) as caught:
        NoiseAttentionLearning.check(hyperparameters, 10)
    assert caught.value.field == "first_target_epoch"


def test_default_values_are_those_of_the_paper() -> None:
    assert dict(complete_parameters("method nal", NoiseAttentionLearning.parameters, {})) == {
        "lambda": 0.5,
        "alpha": 0.9,
        "first_target_epoch": 1,
        "target_interval": 1,
        "clamps": False,
        "delta": 0.0,
        "beta": 0.0,
    }
    assert method_of("nal") is NoiseAttentionLearning
    assert math.isclose(boost_loss(torch.zeros(1)).item(), math.log(2), rel_tol=1e-6)


def test_unknown_method_suggests_a_similar_name() -> None:
    known = "known: bootstrap, bootstrap-hard, ce, "
    with pytest.raises(FieldError, match=rf"'nall': did you mean 'nal'\? {known}"):
        method_of("nall")


# --- the settings of the public code, compared with a transcription of its formulas


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
    setting = first_match(NoiseAttentionLearning.presets["official"], "cifar10", "symmetric-0.4")
    assert setting is not None
    options = {**setting.values, "lambda": boost, "alpha": 0.9, "beta": beta}
    values = complete_parameters("method nal", NoiseAttentionLearning.parameters, options)
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
    attended, _, _ = clamped_loss_terms(z, torch.tensor([8.0], dtype=torch.float64), row)
    (gradient,) = torch.autograd.grad(attended.sum(), z)
    assert gradient[0, 0].item() == pytest.approx(excess, rel=0.05)


def test_gradient_is_zero_below_the_clamp() -> None:
    h = torch.tensor([-30.0, -20.0]).requires_grad_()
    row = torch.tensor([[1.0, 1e-4]]).repeat(2, 1)
    _, boosted, _ = clamped_loss_terms(torch.zeros(2, 2), h, row)
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
    values = complete_parameters("method nal", NoiseAttentionLearning.parameters, {"delta": 0.5})
    method = NoiseAttentionLearning(Context(values, torch.from_numpy(labels), 3, 5, seed=0))
    before = method.targets.clone()
    attention = torch.tensor([-1.0, 1.0, 2.0])
    method.loss(Batch(torch.randn(3, 3), attention, torch.arange(3), 1))
    moved = (method.targets != before).any(dim=1)
    assert moved.tolist() == [False, True, True]


def test_schedule_with_nan_loss_in_the_public_code_is_refused() -> None:
    parameters = NoiseAttentionLearning.parameters
    options = {"first_target_epoch": 65, "target_interval": 10, "clamps": True}
    values = complete_parameters("method nal", parameters, options)
    with pytest.raises(FieldError) as caught:
        NoiseAttentionLearning.check(values, 100)
    assert caught.value.field == "first_target_epoch"
    assert caught.value.message == (
        "first_target_epoch is 65, not a multiple of target_interval (10): with these epochs and "
        "clamps, the public code takes the logarithm of zeros, and the loss is NaN; set "
        "first_target_epoch to 70, or clamps to false"
    )
    unclamped = complete_parameters("method nal", parameters, {**options, "clamps": False})
    NoiseAttentionLearning.check(unclamped, 100)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("cifar10", {"first_target_epoch": 60, "target_interval": 10, "beta": 0.0}),
        ("cifar100", {"first_target_epoch": 60, "target_interval": 10, "beta": 0.0}),
        ("animal10n", {"first_target_epoch": 41, "target_interval": 1, "beta": 0.0}),
        ("clothing1m", {"first_target_epoch": 60, "target_interval": 10, "beta": 0.1}),
        ("webvision", {"first_target_epoch": 200, "target_interval": 10, "beta": 0.1}),
    ],
)
def test_official_preset_by_dataset(dataset: str, expected: dict[str, float]) -> None:
    setting = first_match(method_of("nal").presets["official"], dataset, "human")
    assert setting is not None
    assert dict(setting.values) == {**expected, "clamps": True, "delta": 0.0}


def test_official_preset_is_empty_for_other_datasets() -> None:
    assert first_match(method_of("nal").presets["official"], "digits", "symmetric-0.4") is None


@pytest.mark.parametrize(
    ("method", "values", "changes", "starts"),
    [
        ("nal", {"lambda": 3.0, "first_target_epoch": 10}, {}, []),
        ("nal", {"lambda": 0.5, "first_target_epoch": 10}, {}, ["a larger λ (on digits, 2.46 ins"]),
        ("nal", {"lambda": 3.0}, {}, ["hyperparameters.nal.first_target_epoch=10, a sixth of the"]),
        ("nal-no-targets", {"lambda": 3.0}, {}, []),
        ("nal-no-targets", {"lambda": 3.0}, {"momentum": 0.0}, ["recipe.momentum=0.9 (on digits,"]),
        (
            "nal-no-targets",
            {"lambda": 3.0},
            {"optimizer": "radam", "mean": (0.5,), "std": (0.5,)},
            ["measured recipe.mean and recipe.std (null) (on"],
        ),
        ("nal-no-targets", {"lambda": 3.0}, {"crop_size": 8, "mean": (0.5,), "std": (0.5,)}, []),
    ],
)
def test_remedies_are_settings_that_a_run_does_not_have(
    method: str, values: Mapping[str, float], changes: Mapping[str, Any], starts: list[str]
) -> None:
    nal = method_of(method)
    hyperparameters = complete_parameters(method, nal.parameters, values)
    recipe = replace(Recipe(60, 64, 0.05, window=10), **changes)
    texts = nal.remedies(hyperparameters, recipe)
    assert len(texts) == len(starts)
    assert all(text.startswith(start) for text, start in zip(texts, starts, strict=True))
