"""Learning rate schedules: pure functions of the epoch, which is counted from 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from trainables.errors import FieldError


def scaled_epoch(epoch: int, factor: float, step: int = 1) -> int:
    """Return an epoch count scaled by `factor`, rounded to a positive multiple of `step`."""
    return step * max(1, round(epoch * factor / step))


@dataclass(frozen=True, slots=True)
class Constant:
    """Schedule that keeps the base rate in every epoch."""

    kind: Literal["constant"] = "constant"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def rate(self, base: float, epoch: int) -> float:  # noqa: ARG002 - interface of all schedules
        """Return the learning rate of an epoch."""
        return base

    @property
    def cycle(self) -> int | None:
        """Number of epochs after which the rate repeats; None if it never does."""
        return None

    def scaled(self, factor: float) -> Constant:  # noqa: ARG002
        """Return the schedule of a training `factor` times as long."""
        return self


@dataclass(frozen=True, slots=True)
class CosineRestarts:
    """Schedule that anneals the base rate to `minimum` along a cosine every `period` epochs.

    Epoch e has position (e - 1) mod period in its cycle, so that the rate is lowest in the epochs
    divisible by the period. This equals `CosineAnnealingWarmRestarts(T_0=period)` of torch, stepped
    once after each epoch.

    Attributes:
        period: number of epochs per cycle.
        minimum: learning rate that a cycle approaches at its end.
    """

    period: int
    minimum: float = 0.0
    kind: Literal["cosine-restarts"] = "cosine-restarts"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.period < 1:
            raise FieldError("period", f"period must be at least 1, got {self.period}")
        if self.minimum < 0:
            raise FieldError("minimum", f"minimum must be at least 0, got {self.minimum:g}")

    def rate(self, base: float, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        position = (epoch - 1) % self.period
        weight = (1 + math.cos(math.pi * position / self.period)) / 2
        return self.minimum + (base - self.minimum) * weight

    @property
    def cycle(self) -> int | None:
        """Number of epochs after which the rate repeats."""
        return self.period

    def scaled(self, factor: float) -> CosineRestarts:
        """Return the schedule of a training `factor` times as long.

        The period stays at least 2 if it was, since with a period of 1 the rate would be constant.
        """
        min_period = min(self.period, 2)
        return CosineRestarts(max(min_period, scaled_epoch(self.period, factor)), self.minimum)


@dataclass(frozen=True, slots=True)
class MultiStep:
    """Schedule that multiplies the rate by `gamma` after each milestone.

    Attributes:
        milestones: last epoch before each change of the rate, ascending.
        gamma: factor of each change.
    """

    milestones: tuple[int, ...]
    gamma: float = 0.1
    kind: Literal["multistep"] = "multistep"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.milestones, self.milestones[1:], strict=False))
        if not self.milestones or self.milestones[0] < 1 or not ascending:
            raise FieldError(
                "milestones", f"milestones must rise from 1, got {list(self.milestones)}"
            )
        if not 0 < self.gamma <= 1:
            raise FieldError("gamma", f"gamma must be above 0 and at most 1, got {self.gamma:g}")

    def rate(self, base: float, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        return base * self.gamma ** sum(epoch > milestone for milestone in self.milestones)

    @property
    def cycle(self) -> int | None:
        """None, since the rate never repeats."""
        return None

    def scaled(self, factor: float) -> MultiStep:
        """Return the schedule of a training `factor` times as long, with distinct milestones."""
        scaled: list[int] = []
        for milestone in self.milestones:
            scaled.append(max(scaled_epoch(milestone, factor), scaled[-1] + 1 if scaled else 1))
        return MultiStep(tuple(scaled), self.gamma)


CONSTANT = Constant()
Schedule = Constant | CosineRestarts | MultiStep
KINDS: dict[str, type[Schedule]] = {
    "constant": Constant,
    "cosine-restarts": CosineRestarts,
    "multistep": MultiStep,
}


def whole_cycles(epochs: int, schedule: Schedule) -> bool:
    """Return whether `epochs` is a multiple of the schedule's cycle; True if it has no cycle."""
    return epochs % (schedule.cycle or 1) == 0


def scaled_count(count: int, source: tuple[int, Schedule], target: tuple[int, Schedule]) -> int:
    """Return a number of epochs scaled from one training to another; whole cycles stay whole.

    Args:
        count: number of epochs in the source training.
        source: epochs and schedule of the source training.
        target: epochs and schedule of the target training; the result is at most its epochs.
    """
    (source_epochs, source_schedule), (epochs, schedule) = source, target
    step = (schedule.cycle or 1) if whole_cycles(count, source_schedule) else 1
    maximum = epochs - epochs % step or epochs
    return min(scaled_epoch(count, epochs / source_epochs, step), maximum)
