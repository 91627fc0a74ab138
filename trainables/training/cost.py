"""The cost of a run on a machine, as measured by `probe`.

This module does not import torch, since the driver uses it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.run.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Cost:
    """Time and storage that a run takes on a machine, beside the runs that it trains at that time.

    Attributes:
        step_seconds: time of a training step with a full batch, in seconds.
        evaluation_seconds: time to evaluate one sample, in seconds.
        checkpoint_bytes: size of a checkpoint in bytes, excluding the method's state per training
            sample.
        start_seconds: wall time to start a process that trains, until its first step, in seconds.
        device: name of the device, such as "cuda: NVIDIA H200".
        devices: number of GPUs in the machine; 1 if the device is the CPU.
    """

    step_seconds: float
    evaluation_seconds: float
    checkpoint_bytes: int
    start_seconds: float
    device: str
    devices: int = 1

    def __post_init__(self) -> None:
        """Raise `ValueError` if a time or size is negative, infinite or not a number."""
        numbers = (
            self.step_seconds,
            self.evaluation_seconds,
            self.checkpoint_bytes,
            self.start_seconds,
        )
        for value in numbers:
            if not 0 <= value < math.inf:
                raise ValueError(f"a cost must be a finite number of at least 0, got {value}")

    def training_seconds(self, recipe: Recipe, train_count: int, evaluated_count: int) -> float:
        """Return the time of all epochs of a run, in seconds.

        Args:
            recipe: recipe of the run.
            train_count: number of samples that the run trains on.
            evaluated_count: number of samples that each evaluation predicts.
        """
        evaluation_count = sum(recipe.evaluates(epoch) for epoch in range(1, recipe.epochs + 1))
        return (
            recipe.step_count(train_count) * self.step_seconds
            + evaluation_count * evaluated_count * self.evaluation_seconds
        )

    def slower_by(self, ratio: float) -> Cost:
        """Return the cost of a machine on which all times are `ratio` times as long."""
        return replace(
            self,
            step_seconds=ratio * self.step_seconds,
            evaluation_seconds=ratio * self.evaluation_seconds,
        )
