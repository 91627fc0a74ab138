"""The ablations of Table 6."""

from __future__ import annotations

import pytest
import torch

from trainables.methods import Batch, Context, Method, method_of
from trainables.methods.nal import attention_loss, boost_loss, reverse_loss
from trainables.methods.nal_ablations import confidence_logit
from trainables.run.parameters import complete_parameters

NAMES = ("nal-no-targets", "nal-no-attention", "nal-rnal")


def make(name: str, labels: torch.Tensor, classes: int, **values: object) -> Method:
    kind = method_of(name)
    hyperparameters = complete_parameters(
        name, kind.parameters, {k.replace("boost", "lambda"): v for k, v in values.items()}
    )
    return kind(Context(hyperparameters, labels, classes, 10, seed=0))


def batch(classes: int, epoch: int = 3) -> Batch:
    random = torch.Generator().manual_seed(classes)
    logits = torch.randn(6, classes, generator=random)
    return Batch(logits, torch.randn(6, generator=random), torch.arange(6), epoch)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confidence_is_the_logit_of_the_highest_probability(classes: int) -> None:
    random = torch.Generator().manual_seed(0)
    z = 4 * torch.randn(200, classes, generator=random, dtype=torch.float64)
    expected = z.softmax(1).max(1).values.logit()
    inside = expected < 20  # beyond, 1 - max p has few digits left in the expectation itself
    torch.testing.assert_close(confidence_logit(z)[inside], expected[inside], rtol=1e-6, atol=1e-9)


def test_confidence_stays_finite_where_the_probability_is_one() -> None:
    z = torch.tensor([[200.0, -200, -200]]).requires_grad_()
    logit = confidence_logit(z)
    (gradient,) = torch.autograd.grad(boost_loss(logit).sum(), z)
    assert logit.item() == pytest.approx(400 - 0.6931, abs=1e-3)
    assert gradient.isfinite().all()


def test_without_attention_the_gradient_flows_through_the_confidence() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    method = make("nal-no-attention", labels, 3, boost=2.0, first_target_epoch=9)
    sample_batch = batch(3)
    z = sample_batch.logits.clone().requires_grad_()
    loss = method.loss(Batch(z, sample_batch.attention, sample_batch.index, 1))
    (gradient,) = torch.autograd.grad(loss, z)

    w = sample_batch.logits.double().requires_grad_()
    p = w.softmax(1)
    tau = p.max(1).values.unsqueeze(1)
    t = torch.nn.functional.one_hot(labels, 3).double()
    mixed = torch.where(t > 0, tau * (p - t) + t, torch.ones_like(t))
    reference = (-(t * mixed.log()).sum(1) - 2.0 * tau.squeeze(1).log()).mean()
    (expected,) = torch.autograd.grad(reference, w)
    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-6)


def test_targets_stay_one_hot_without_target_estimation() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    method = make("nal-no-targets", labels, 3, boost=1.5)
    sample_batch = batch(3)
    t = torch.nn.functional.one_hot(labels, 3).float()
    expected = attention_loss(sample_batch.logits, sample_batch.attention, t) + 1.5 * boost_loss(
        sample_batch.attention
    )
    for _ in range(3):
        assert method.loss(sample_batch).item() == pytest.approx(expected.mean().item(), rel=1e-6)
    assert torch.equal(method.state_dict()["targets"], t)
    assert method.estimated_targets() is None


def test_rnal_adds_the_reverse_term_with_updated_targets() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    nal, rnal = make("nal", labels, 3), make("nal-rnal", labels, 3)
    assert rnal.context.hyperparameters["beta"] == 0.1
    sample_batch = batch(3)
    base, total = nal.loss(sample_batch), rnal.loss(sample_batch)
    t = nal.estimated_targets()
    assert t is not None
    term = reverse_loss(sample_batch.logits, sample_batch.attention, t).mean()
    assert total.item() == pytest.approx((base + 0.1 * term).item(), rel=1e-6)
    assert term.item() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_titles_are_those_of_table_6(name: str) -> None:
    from reports.paper import paper_results

    assert method_of(name).title in {
        result.method for result in paper_results() if result.table == 6
    }


def test_rnal_says_where_its_weight_comes_from() -> None:
    entries = method_of("nal-rnal").presets["official"]
    sources = {entry.dataset: entry.source for entry in entries}
    assert all(entry.values["beta"] == 0.1 for entry in entries)
    for dataset in ("cifar10*", "animal10n"):
        assert "its script has β = 0, 0.1 is the default of the class" in sources[dataset]
    assert sources["clothing1m"] == "public code, train_clothing1m.py and loss.py"
