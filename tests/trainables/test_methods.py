"""Properties that every method must have."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reports.paper import paper_results
from trainables.errors import FieldError
from trainables.methods import METHODS, Batch, Context, Method, check_state_size, method_of
from trainables.methods.published import EpochSelection
from trainables.run.parameters import FrozenMap, complete_parameters

CLASSES, SAMPLES, EPOCHS = 5, 12, 40
STAGES_ONLY = ("joint-labels", "dac-abstain")
VARIANTS = ("forward-true", "bootstrap-hard", "gce-truncated")
"""Methods without a row in the paper's tables."""


def values_of(name: str, overrides: dict[str, Any] | None = None) -> FrozenMap:
    kind = method_of(name)
    first = {p.name: 2 for p in kind.parameters if p.name.startswith("first_")}
    return complete_parameters(name, kind.parameters, {**first, **(overrides or {})})


def make(name: str) -> Method:
    labels = torch.arange(SAMPLES) % CLASSES
    inputs = {
        "predictions": torch.randn(SAMPLES, CLASSES).softmax(1),
        "labels": torch.randn(SAMPLES, CLASSES).softmax(1),
        "retained": torch.arange(SAMPLES) % 3 > 0,
    }
    transition = torch.full((CLASSES, CLASSES), 0.1) + 0.5 * torch.eye(CLASSES)
    context = Context(values_of(name), labels, CLASSES, EPOCHS, 0, inputs, transition)
    return method_of(name)(context)


def logits(name: str, epoch: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(epoch)
    return 3 * torch.randn(SAMPLES, method_of(name).output_count(CLASSES), generator=random)


def train(method: Method, name: str, epochs: range) -> list[float]:
    losses = []
    for epoch in epochs:
        z = logits(name, epoch)
        for index in torch.split(torch.arange(SAMPLES).flip(0), 5):
            attention = z[index, 0]
            losses.append(float(method.loss(Batch(z[index], attention, index, epoch))))
        method.end_epoch(epoch, z.softmax(1).clone)
    return losses


@pytest.mark.parametrize("name", METHODS)
def test_state_is_restored_from_a_state_dict(name: str) -> None:
    torch.manual_seed(0)
    first = make(name)
    torch.manual_seed(0)
    second = make(name)
    train(first, name, range(1, 24))
    second.load_state_dict({key: value.clone() for key, value in first.state_dict().items()})
    assert train(first, name, range(24, 30)) == train(second, name, range(24, 30))


@pytest.mark.parametrize("name", METHODS)
def test_state_bytes_is_the_size_of_the_state(name: str) -> None:
    state = make(name).state_dict()
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values() if tensor.dim())
    assert method_of(name).state_bytes(values_of(name), SAMPLES, CLASSES) == size
    assert all(not tensor.requires_grad for tensor in state.values())


@pytest.mark.parametrize("name", METHODS)
def test_loss_and_gradient_are_finite_at_extreme_logits(name: str) -> None:
    method = make(name)
    outputs = method_of(name).output_count(CLASSES)
    rows = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [200.0, 200.0], [0.0, 0.0]])
    z = rows.repeat(3, (outputs + 1) // 2)[:, :outputs].clone().requires_grad_()
    h = torch.tensor([100.0, -100.0, 0.0]).repeat(4).requires_grad_()
    for epoch in (1, 3, 25):
        loss = method.loss(Batch(z, h, torch.arange(SAMPLES), epoch))
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        (gradient,) = torch.autograd.grad(loss, z, retain_graph=True)
        assert gradient.isfinite().all()
        method.end_epoch(epoch, z.detach().softmax(1).clone)


@pytest.mark.parametrize("name", METHODS)
def test_estimated_targets_are_rows_that_sum_to_one(name: str) -> None:
    method = make(name)
    train(method, name, range(1, 12))
    targets = method.estimated_targets()
    if targets is not None:
        torch.testing.assert_close(targets.sum(1), torch.ones(SAMPLES), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_declarations_are_sound(name: str) -> None:
    kind = method_of(name)
    known = {parameter.name: parameter for parameter in kind.parameters}
    assert len(known) == len(kind.parameters)
    assert kind.title
    assert kind.source
    for parameter in kind.parameters:
        assert parameter.check(parameter.default) == parameter.default
        assert parameter.help
        if parameter.space is not None:
            assert [parameter.check(value) for value in parameter.space.ends] == list(
                parameter.space.ends
            )
    for settings in (kind.settings, *kind.presets.values()):
        for setting in settings:
            assert setting.source
            for key, value in setting.values.items():
                assert known[key].check(value) == value
    for published in kind.published_recipes:
        assert published.source
        assert published.hold_out > 0 or published.selection not in (
            EpochSelection.NOISY,
            EpochSelection.CLEAN,
        )
    for stage in kind.stages:
        assert stage.outcome in method_of(stage.method).outcomes
        assert set(stage.shared_hyperparameters) <= set(known)


def test_titles_are_those_of_the_paper() -> None:
    titles = [kind.title for kind in METHODS.values()]
    assert len(set(titles)) == len(titles)
    paper_titles = {result.method for result in paper_results()}
    ours = {name: kind.title for name, kind in METHODS.items()}
    assert {name for name, title in ours.items() if title not in paper_titles} == {
        *STAGES_ONLY,
        *VARIANTS,
    }


def test_all_methods_of_tables_1_and_2_but_nlnl_exist() -> None:
    ours = {kind.title for kind in METHODS.values()}
    paper_titles = {result.method for result in paper_results() if result.table in (1, 2)}
    assert paper_titles - ours == {"NLNL"}


def test_too_large_state_is_refused_with_its_size() -> None:
    with pytest.raises(FieldError) as caught:
        check_state_size(method_of("nal"), values_of("nal"), 2_400_000, 1000)
    assert caught.value.message == (
        "method nal would keep 9.6 GB of state for 2400000 samples of 1000 classes, above the "
        "limit of 1 GB: train on a subset of the samples, or leave the method out"
    )
    for name in METHODS:
        check_state_size(method_of(name), values_of(name), 50_000, 100)
