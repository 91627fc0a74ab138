"""Protocols that choose hyperparameters: the epochs of a run whose accuracy they average.

Where a learning rate restarts, accuracy falls after each restart and recovers towards the end of
the cycle. The mean over the last epochs is then lower and noisier than the mean over the ends of
the last cycles, and describes the network at rates at which nobody would stop its training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.run.recipe import Recipe

ProtocolKey = Literal["held-out-mean", "held-out-cycle-ends"]
"""Names of the protocols in studies and digests."""

DEFAULT_CYCLES = 3
"""Number of cycle ends that are averaged unless a study sets it."""


@dataclass(frozen=True, slots=True)
class HeldOutMean:
    """Mean accuracy on held-out noisy labels over the last epochs.

    Attributes:
        window: number of last epochs, the recipe's `window`.
    """

    window: int
    key: ClassVar[ProtocolKey] = "held-out-mean"

    @property
    def identity(self) -> dict[str, str | int]:
        """Keys that enter the digest of a search."""
        return {"protocol": self.key, "window": self.window}

    @property
    def averaged(self) -> str:
        """Description of the averaged epochs, such as "last 10 epochs"."""
        return "last epoch" if self.window == 1 else f"last {self.window} epochs"

    @property
    def name(self) -> str:
        """Description of the protocol in printed plans and in notes of tables."""
        return f"mean accuracy on held-out noisy labels over the {self.averaged}"

    def epochs(self, recipe: Recipe) -> tuple[int, ...]:
        """Return the averaged epochs of a training, in order."""
        return tuple(range(max(1, recipe.epochs - self.window + 1), recipe.epochs + 1))


@dataclass(frozen=True, slots=True)
class HeldOutCycleEnds:
    """Mean accuracy on held-out noisy labels over the ends of the last cycles.

    The end of a cycle is its epoch with the lowest learning rate: an epoch divisible by the
    schedule's period.

    Attributes:
        cycles: number of last cycle ends.
    """

    cycles: int
    key: ClassVar[ProtocolKey] = "held-out-cycle-ends"

    @property
    def identity(self) -> dict[str, str | int]:
        """Keys that enter the digests of a search and of its sweep."""
        return {"protocol": self.key, "cycles": self.cycles}

    @property
    def averaged(self) -> str:
        """Description of the averaged epochs, such as "last 3 cycle ends"."""
        return "last cycle end" if self.cycles == 1 else f"last {self.cycles} cycle ends"

    @property
    def name(self) -> str:
        """Description of the protocol in printed plans and in notes of tables."""
        epochs = "epoch" if self.cycles == 1 else "epochs"
        return (
            f"mean accuracy on held-out noisy labels over the {self.averaged} "
            f"({epochs} at the lowest learning rate)"
        )

    def epochs(self, recipe: Recipe) -> tuple[int, ...]:
        """Return the averaged epochs of a training, in order; none if no cycle is completed."""
        period = recipe.schedule.cycle
        ends = range(period, recipe.epochs + 1, period) if period else ()
        return tuple(ends[-self.cycles :])


Protocol = HeldOutMean | HeldOutCycleEnds


def protocol_of(
    recipe: Recipe, key: ProtocolKey | None = None, cycles: int = DEFAULT_CYCLES
) -> Protocol:
    """Return the protocol of trainings under a recipe.

    By default it follows from the schedule: cycle ends if the learning rate restarts during the
    training, the mean over the last epochs if it does not. A single cosine cycle does not restart.

    Args:
        recipe: recipe of the trainings.
        key: name of the protocol; None for the schedule's default.
        cycles: number of cycle ends to average; fewer if the training completes fewer cycles.
    """
    period = recipe.schedule.cycle
    if key is None:
        restarts = period is not None and recipe.epochs > period
        key = HeldOutCycleEnds.key if restarts else HeldOutMean.key
    if key == HeldOutMean.key:
        return HeldOutMean(recipe.window)
    completed = recipe.epochs // period if period else 0
    return HeldOutCycleEnds(max(1, min(cycles, completed)))


def read_protocol(identity: Mapping[str, str | int]) -> Protocol:
    """Return the protocol that has an `identity`, such as one stored in a recorded plan.

    Raises:
        ValueError: if no known protocol has this identity.
    """
    for kind, count in ((HeldOutMean, "window"), (HeldOutCycleEnds, "cycles")):
        if identity.keys() == {"protocol", count} and identity["protocol"] == kind.key:
            return kind(int(identity[count]))
    raise ValueError(f"unknown protocol {dict(identity)}")
