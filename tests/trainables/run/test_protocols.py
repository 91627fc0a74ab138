from __future__ import annotations

from dataclasses import replace

import pytest
from factories import make_result, make_spec

from trainables.run.protocols import (
    HeldOutCycleEnds,
    HeldOutMean,
    Protocol,
    protocol_from_identity,
    protocol_of,
)
from trainables.run.recipe import Recipe
from trainables.run.schedules import CONSTANT_SCHEDULE, CosineRestarts, MultiStep, Schedule


def recipe(epochs: int, schedule: Schedule = CONSTANT_SCHEDULE, window: int = 10) -> Recipe:
    return Recipe(epochs, 64, 0.1, schedule=schedule, window=window)


@pytest.mark.parametrize(
    ("epochs", "period", "cycles", "ends"),
    [
        (60, 10, 3, (40, 50, 60)),
        (60, 20, 3, (20, 40, 60)),
        (65, 10, 2, (50, 60)),  # the last cycle is cut
        (25, 10, 3, (10, 20)),  # fewer cycles
        (10, 10, 3, (10,)),
        (9, 10, 3, ()),
        (4, 1, 3, (2, 3, 4)),
    ],
)
def test_cycle_ends_are_the_last_epochs_divisible_by_the_period(
    epochs: int, period: int, cycles: int, ends: tuple[int, ...]
) -> None:
    one = recipe(epochs, CosineRestarts(period, 0.001))
    assert HeldOutCycleEnds(cycles).averaged_epochs(one) == ends
    rates = [one.schedule.rate(0.1, epoch) for epoch in range(1, period + 1)]
    assert all(one.schedule.rate(0.1, epoch) == min(rates) for epoch in ends)


@pytest.mark.parametrize("schedule", [CONSTANT_SCHEDULE, MultiStep((3, 5))])
def test_without_cycles_there_are_no_ends(schedule: Schedule) -> None:
    assert HeldOutCycleEnds(3).averaged_epochs(recipe(9, schedule)) == ()


def test_the_mean_is_over_the_last_epochs() -> None:
    assert HeldOutMean(3).averaged_epochs(recipe(9)) == (7, 8, 9)
    assert HeldOutMean(3).averaged_epochs(recipe(9, CosineRestarts(2))) == (7, 8, 9)
    assert HeldOutMean(10).averaged_epochs(recipe(2)) == (1, 2)


@pytest.mark.parametrize(
    ("one", "protocol"),
    [
        (recipe(60), HeldOutMean(10)),
        (recipe(60, MultiStep((30,)), window=4), HeldOutMean(4)),
        (recipe(60, CosineRestarts(10)), HeldOutCycleEnds(3)),
        (recipe(25, CosineRestarts(10)), HeldOutCycleEnds(2)),
        (recipe(15, CosineRestarts(10)), HeldOutCycleEnds(1)),
        # A single cosine cycle does not restart.
        (recipe(60, CosineRestarts(60)), HeldOutMean(10)),
        (recipe(5, CosineRestarts(10), window=5), HeldOutMean(5)),
    ],
)
def test_the_schedule_decides_by_default(one: Recipe, protocol: Protocol) -> None:
    assert protocol_of(one) == protocol


def test_a_protocol_may_be_set() -> None:
    restarts = recipe(60, CosineRestarts(10))
    assert protocol_of(restarts, "held-out-mean") == HeldOutMean(10)
    assert protocol_of(restarts, cycles=5) == HeldOutCycleEnds(5)
    assert protocol_of(restarts, "held-out-cycle-ends", 9) == HeldOutCycleEnds(6)
    one_cycle = recipe(60, CosineRestarts(60))
    assert protocol_of(one_cycle, "held-out-cycle-ends") == HeldOutCycleEnds(1)


@pytest.mark.parametrize(
    ("protocol", "averaged", "tail"),
    [
        (HeldOutMean(1), "last epoch", ""),
        (HeldOutMean(10), "last 10 epochs", ""),
        (HeldOutCycleEnds(1), "last cycle end", " (epoch at the lowest learning rate)"),
        (HeldOutCycleEnds(3), "last 3 cycle ends", " (epochs at the lowest learning rate)"),
    ],
)
def test_protocols_in_words(protocol: Protocol, averaged: str, tail: str) -> None:
    assert protocol.epochs_text == averaged
    assert (
        protocol.description == f"mean accuracy on held-out noisy labels over the {averaged}{tail}"
    )


def test_identities_are_keys_and_come_back() -> None:
    mean, ends = HeldOutMean(10), HeldOutCycleEnds(3)
    assert mean.identity == {"protocol": "held-out-mean", "window": 10}
    assert ends.identity == {"protocol": "held-out-cycle-ends", "cycles": 3}
    assert [protocol_from_identity(one.identity) for one in (mean, ends)] == [mean, ends]
    with pytest.raises(ValueError, match=r"^unknown protocol {'protocol': 'best-epoch'}$"):
        protocol_from_identity({"protocol": "best-epoch"})


def test_a_summary_averages_by_the_schedule_unless_it_is_told_otherwise() -> None:
    spec = make_spec(recipe=recipe(6, CosineRestarts(2), window=6))
    trace = [
        {"epoch": float(n + 1), "val/accuracy": val, "test/accuracy": val + 0.1}
        for n, val in enumerate((0.1, 0.5, 0.2, 0.6, 0.3, 0.7))
    ]
    result = replace(make_result(spec), trace=trace)
    by_default = result.summary()
    assert by_default["val/accuracy_mean_last"] == pytest.approx(0.6)
    assert by_default["test/accuracy_mean_last"] == pytest.approx(0.7)
    assert result.summary(HeldOutCycleEnds(2))["val/accuracy_mean_last"] == pytest.approx(0.65)
    assert result.summary(HeldOutMean(6))["val/accuracy_mean_last"] == pytest.approx(0.4)
