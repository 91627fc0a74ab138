"""Learning rates as pure functions of the epoch (from 1): nothing to keep in a checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from trainables.errors import FieldError


def scaled_epoch(epoch: int, factor: float, step: int = 1) -> int:
    """Scale a number of epochs to the nearest whole multiple of `step`, at least once it."""
    return step * max(1, round(epoch * factor / step))


@dataclass(frozen=True, slots=True)
class Constant:
    """The base rate throughout."""

    kind: Literal["constant"] = "constant"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def rate(self, base: float, epoch: int) -> float:  # noqa: ARG002 - one interface for all
        """Return the learning rate of an epoch."""
        return base

    @property
    def cycle(self) -> int | None:
        """Epochs after which the rate repeats; None if it does not."""
        return None

    def scaled(self, factor: float) -> Constant:  # noqa: ARG002
        """Return the schedule of a training `factor` times as long."""
        return self


@dataclass(frozen=True, slots=True)
class CosineRestarts:
    """From the base rate down to `minimum` along a cosine, anew every `period` epochs.

    Epoch e is at position (e - 1) mod period, so that epochs divisible by the period are the
    lowest of their cycle: CosineAnnealingWarmRestarts(T_0=period) stepped after each epoch.
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
        wave = (1 + math.cos(math.pi * position / self.period)) / 2
        return self.minimum + (base - self.minimum) * wave

    @property
    def cycle(self) -> int | None:
        """Epochs after which the rate repeats."""
        return self.period

    def scaled(self, factor: float) -> CosineRestarts:
        """Return the schedule of a training `factor` times as long; a rate that moves still does.

        With a period of 1 every epoch would have the base rate.
        """
        shortest = min(self.period, 2)
        return CosineRestarts(max(shortest, scaled_epoch(self.period, factor)), self.minimum)


@dataclass(frozen=True, slots=True)
class MultiStep:
    """The base rate times `gamma` after each milestone: epoch m is the last at the old rate."""

    milestones: tuple[int, ...]
    gamma: float = 0.1
    kind: Literal["multistep"] = "multistep"

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.milestones, self.milestones[1:], strict=False))
        if not self.milestones or self.milestones[0] < 1 or not rising:
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
        """None: the rate does not repeat."""
        return None

    def scaled(self, factor: float) -> MultiStep:
        """Return the schedule of a training `factor` times as long; milestones stay apart."""
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
    """Tell whether epochs are a whole number of the schedule's cycles; of none they always are."""
    return epochs % (schedule.cycle or 1) == 0


def scaled_count(count: int, before: tuple[int, Schedule], after: tuple[int, Schedule]) -> int:
    """Scale what counts epochs from one training to another; whole cycles stay whole cycles.

    Args:
        count: number of epochs, in the training before.
        before: epochs and schedule of that training.
        after: epochs and schedule of the other; the count returned is at most its epochs.
    """
    (old_epochs, old), (epochs, new) = before, after
    step = (new.cycle or 1) if whole_cycles(count, old) else 1
    most = epochs - epochs % step or epochs
    return min(scaled_epoch(count, epochs / old_epochs, step), most)
