from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LRScheduler, MultiStepLR

from trainables.errors import FieldError
from trainables.run.schedules import (
    CONSTANT_SCHEDULE,
    SCHEDULE_KINDS,
    CosineRestarts,
    MultiStep,
    Schedule,
    consists_of_whole_cycles,
    scale_epoch_count,
    scale_epochs,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def test_cosine_equals_the_public_code() -> None:
    schedule = CosineRestarts(period=10, minimum=1e-3)
    cycle = [round(schedule.rate(0.02, epoch), 6) for epoch in range(1, 11)]

    assert cycle == [
        *(0.02, 0.019535, 0.018186, 0.016084, 0.013436),
        *(0.0105, 0.007564, 0.004916, 0.002814, 0.001465),
    ]
    assert schedule.rate(0.02, 11) == 0.02
    assert schedule.rate(0.02, 500) == schedule.rate(0.02, 10)
    assert CosineRestarts(10, 1e-4).rate(0.02, 10) == pytest.approx(0.000587, abs=5e-7)


@pytest.mark.parametrize("schedule", [CosineRestarts(7, 1e-3), MultiStep((3, 8, 15), 0.2)])
def test_rates_equal_those_of_torch(schedule: Schedule) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.02)
    reference: LRScheduler
    if isinstance(schedule, CosineRestarts):
        reference = CosineAnnealingWarmRestarts(optimizer, schedule.period, eta_min=1e-3)
    else:
        assert isinstance(schedule, MultiStep)
        reference = MultiStepLR(optimizer, list(schedule.milestones), schedule.gamma)

    for epoch in range(1, 23):
        assert schedule.rate(0.02, epoch) == pytest.approx(reference.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        reference.step()


def test_the_rate_falls_after_a_milestone() -> None:
    schedule = MultiStep((2, 4))
    rates = [schedule.rate(1.0, epoch) for epoch in range(1, 6)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_constant_and_cycles() -> None:
    assert {CONSTANT_SCHEDULE.rate(0.05, epoch) for epoch in (1, 60)} == {0.05}
    assert CosineRestarts(10).cycle_length == 10
    assert CONSTANT_SCHEDULE.cycle_length is None
    assert MultiStep((1,)).cycle_length is None
    for schedule in (CONSTANT_SCHEDULE, CosineRestarts(1), MultiStep((1,))):
        assert SCHEDULE_KINDS[schedule.kind] is type(schedule)


def test_epochs_scale_with_the_training() -> None:
    assert CONSTANT_SCHEDULE.scaled(0.1) == CONSTANT_SCHEDULE
    assert CosineRestarts(10, 1e-3).scaled(0.2) == CosineRestarts(2, 1e-3)
    assert CosineRestarts(10, 1e-3).scaled(0.001).period == 2  # 1 would be a constant rate
    assert CosineRestarts(1).scaled(0.5).period == 1
    assert MultiStep((100, 200), 0.2).scaled(0.1) == MultiStep((10, 20), 0.2)
    assert MultiStep((100, 200, 300)).scaled(0.001).milestones == (1, 2, 3)
    assert [scale_epochs(60, factor) for factor in (0.5, 0.01, 2)] == [30, 1, 120]
    assert [scale_epochs(60, factor, 7) for factor in (0.5, 0.01, 2)] == [28, 7, 119]


def test_whole_cycles() -> None:
    assert [consists_of_whole_cycles(epochs, CosineRestarts(10)) for epochs in (5, 10, 25, 30)] == [
        *(False, True, False, True)
    ]
    assert consists_of_whole_cycles(7, CONSTANT_SCHEDULE)


@pytest.mark.parametrize(
    ("count", "epochs", "scaled"),
    [
        (60, 250, 30),  # whole cycles of 10 become whole cycles of 5
        (60, 260, 30),
        (500, 251, 250),  # the last whole cycle: never above the number of epochs
        (10, 50, 2),
        (25, 250, 12),  # no whole cycle: rounded alone
        (10, 1, 1),  # a training shorter than a cycle
    ],
)
def test_whole_cycles_stay_whole_cycles(count: int, epochs: int, scaled: int) -> None:
    before = CosineRestarts(10)
    after = before.scaled(epochs / 500)
    assert scale_epoch_count(count, (500, before), (epochs, after)) == scaled


def test_without_cycles_a_count_is_only_rounded() -> None:
    assert scale_epoch_count(10, (60, CONSTANT_SCHEDULE), (15, CONSTANT_SCHEDULE)) == 2
    assert scale_epoch_count(60, (60, CONSTANT_SCHEDULE), (7, CONSTANT_SCHEDULE)) == 7


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: CosineRestarts(0), "period"),
        (lambda: CosineRestarts(10, -0.1), "minimum"),
        (lambda: MultiStep(()), "milestones"),
        (lambda: MultiStep((0, 5)), "milestones"),
        (lambda: MultiStep((5, 5)), "milestones"),
        (lambda: MultiStep((5,), 0), "gamma"),
        (lambda: MultiStep((5,), 1.5), "gamma"),
    ],
)
def test_invalid_schedules_are_refused(build: Callable[[], Schedule], field: str) -> None:
    with pytest.raises(FieldError, match=f"^{field} must ") as caught:
        build()
    assert caught.value.field == field
