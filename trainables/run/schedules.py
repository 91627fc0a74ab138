"""Learning rate schedules: the learning rate as a pure function of the epoch, counted from 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from trainables.errors import FieldError


def scale_epochs(epochs: int, factor: float, multiple_of: int = 1) -> int:
    """Multiply a number of epochs by `factor` and round it to a positive multiple of a number."""
    return multiple_of * max(1, round(epochs * factor / multiple_of))


@dataclass(frozen=True, slots=True)
class ConstantSchedule:
    """Learning rate schedule that uses the base learning rate in every epoch."""

    kind: Literal["constant"] = "constant"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def rate(self, base_rate: float, epoch: int) -> float:  # noqa: ARG002 - interface of all schedules
        """Return the learning rate of an epoch, given the base learning rate."""
        return base_rate

    @property
    def cycle_length(self) -> int | None:
        """None, since a constant learning rate has no cycles."""
        return None

    def scaled(self, factor: float) -> ConstantSchedule:  # noqa: ARG002
        """Return the schedule for a run `factor` times as long."""
        return self


@dataclass(frozen=True, slots=True)
class CosineRestarts:
    """Learning rate schedule with cosine annealing and a restart every `period` epochs.

    In each cycle the learning rate falls from the base rate towards `minimum`. It is lowest in the
    epochs that are divisible by the period. The schedule equals
    `CosineAnnealingWarmRestarts(T_0=period)` of torch, stepped once after each epoch.

    Attributes:
        period: number of epochs per cycle.
        minimum: learning rate that is approached at the end of a cycle.
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

    def rate(self, base_rate: float, epoch: int) -> float:
        """Return the learning rate of an epoch, given the base learning rate."""
        position = (epoch - 1) % self.period
        weight = (1 + math.cos(math.pi * position / self.period)) / 2
        return self.minimum + (base_rate - self.minimum) * weight

    @property
    def cycle_length(self) -> int | None:
        """Number of epochs of a cycle, after which the learning rate restarts."""
        return self.period

    def scaled(self, factor: float) -> CosineRestarts:
        """Return the schedule for a run `factor` times as long.

        The new period is at least 2, unless the old one is 1, since with a period of 1 the learning
        rate is constant.
        """
        min_period = min(self.period, 2)
        return CosineRestarts(max(min_period, scale_epochs(self.period, factor)), self.minimum)


@dataclass(frozen=True, slots=True)
class MultiStep:
    """Learning rate schedule that multiplies the learning rate by `gamma` after each milestone.

    Attributes:
        milestones: last epoch before each change of the learning rate, ascending.
        gamma: factor of the learning rate after a milestone, above 0 and at most 1.
    """

    milestones: tuple[int, ...]
    gamma: float = 0.1
    kind: Literal["multistep"] = "multistep"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        is_ascending = all(
            a < b for a, b in zip(self.milestones, self.milestones[1:], strict=False)
        )
        if not self.milestones or self.milestones[0] < 1 or not is_ascending:
            raise FieldError(
                "milestones",
                f"milestones must be ascending epochs from 1, got {list(self.milestones)}",
            )
        if not 0 < self.gamma <= 1:
            raise FieldError("gamma", f"gamma must be above 0 and at most 1, got {self.gamma:g}")

    def rate(self, base_rate: float, epoch: int) -> float:
        """Return the learning rate of an epoch, given the base learning rate."""
        return base_rate * self.gamma ** sum(epoch > milestone for milestone in self.milestones)

    @property
    def cycle_length(self) -> int | None:
        """None, since the learning rate has no cycles."""
        return None

    def scaled(self, factor: float) -> MultiStep:
        """Return the schedule for a run `factor` times as long, with distinct milestones."""
        milestones: list[int] = []
        for milestone in self.milestones:
            min_milestone = milestones[-1] + 1 if milestones else 1
            milestones.append(max(scale_epochs(milestone, factor), min_milestone))
        return MultiStep(tuple(milestones), self.gamma)


CONSTANT_SCHEDULE = ConstantSchedule()
"""Schedule with a constant learning rate."""
Schedule = ConstantSchedule | CosineRestarts | MultiStep
"""Type of all learning rate schedules."""
SCHEDULE_KINDS: dict[str, type[Schedule]] = {
    "constant": ConstantSchedule,
    "cosine-restarts": CosineRestarts,
    "multistep": MultiStep,
}
"""Classes of the learning rate schedules, by their names in studies and records."""


def consists_of_whole_cycles(epochs: int, schedule: Schedule) -> bool:
    """Return whether a number of epochs is a multiple of the cycle length; True without cycles."""
    return epochs % (schedule.cycle_length or 1) == 0


def scale_epoch_count(
    count: int, source: tuple[int, Schedule], target: tuple[int, Schedule]
) -> int:
    """Scale a number of epochs, such as a window, from one run to a shorter or longer run.

    A number of whole learning rate cycles is scaled to a number of whole cycles.

    Args:
        count: number of epochs in the source run.
        source: epochs and schedule of the source run.
        target: epochs and schedule of the target run.

    Returns:
        Number of epochs in the target run, at least 1 and at most all of them.
    """
    (source_epochs, source_schedule), (epochs, schedule) = source, target
    step = (schedule.cycle_length or 1) if consists_of_whole_cycles(count, source_schedule) else 1
    maximum = epochs - epochs % step or epochs
    return min(scale_epochs(count, epochs / source_epochs, step), maximum)
