"""Protocols: rules that name the epochs whose mean held-out accuracy chooses hyperparameters.

If the learning rate restarts, accuracy falls after each restart and recovers towards the end of
the cycle. The mean over the last epochs then includes epochs at a high learning rate, after which
nobody would stop; the mean over the ends of the last cycles does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.run.recipe import Recipe

ProtocolKey = Literal["held-out-mean", "held-out-cycle-ends"]
"""Names of the protocols in studies and digests."""

DEFAULT_CYCLE_COUNT = 3
"""Default number of cycle ends that the protocol `held-out-cycle-ends` averages."""


@dataclass(frozen=True, slots=True)
class HeldOutMean:
    """Protocol that averages the accuracy on held-out noisy labels over the last epochs.

    Attributes:
        window: number of epochs at the end of a run that are averaged, see `Recipe.window`.
    """

    window: int
    key: ClassVar[ProtocolKey] = "held-out-mean"

    @property
    def identity(self) -> dict[str, str | int]:
        """Name and settings of the protocol, which enter the digest of a search."""
        return {"protocol": self.key, "window": self.window}

    @property
    def epoch_count(self) -> int:
        """Number of epochs that are averaged."""
        return self.window

    @property
    def epochs_text(self) -> str:
        """Description of the averaged epochs, such as "last 10 epochs"."""
        return "last epoch" if self.window == 1 else f"last {self.window} epochs"

    @property
    def description(self) -> str:
        """Description of the protocol for printed plans and notes below tables."""
        return f"mean accuracy on held-out noisy labels over the {self.epochs_text}"

    def averaged_epochs(self, recipe: Recipe, last: int | None = None) -> tuple[int, ...]:
        """Return the numbers of the epochs of a run that are averaged, ascending.

        Args:
            recipe: recipe of the run.
            last: epoch after which the run would end; None for its last epoch.
        """
        last = last or recipe.epochs
        return tuple(range(max(1, last - self.window + 1), last + 1))


@dataclass(frozen=True, slots=True)
class HeldOutCycleEnds:
    """Protocol that averages the accuracy on held-out noisy labels over the last cycle ends.

    The end of a cycle is its epoch with the lowest learning rate: an epoch divisible by the
    schedule's period.

    Attributes:
        cycles: number of cycle ends that are averaged, counted from the end of a run.
    """

    cycles: int
    key: ClassVar[ProtocolKey] = "held-out-cycle-ends"

    @property
    def identity(self) -> dict[str, str | int]:
        """Name and settings of the protocol, which enter the digests of search and sweep."""
        return {"protocol": self.key, "cycles": self.cycles}

    @property
    def epoch_count(self) -> int:
        """Number of epochs that are averaged."""
        return self.cycles

    @property
    def epochs_text(self) -> str:
        """Description of the averaged epochs, such as "last 3 cycle ends"."""
        return "last cycle end" if self.cycles == 1 else f"last {self.cycles} cycle ends"

    @property
    def description(self) -> str:
        """Description of the protocol for printed plans and notes below tables."""
        epochs = "epoch" if self.cycles == 1 else "epochs"
        return (
            f"mean accuracy on held-out noisy labels over the {self.epochs_text} "
            f"({epochs} at the lowest learning rate)"
        )

    def averaged_epochs(self, recipe: Recipe, last: int | None = None) -> tuple[int, ...]:
        """Return the numbers of the epochs of a run that are averaged, ascending.

        The result is empty if the run completes no cycle.

        Args:
            recipe: recipe of the run.
            last: epoch after which the run would end; None for its last epoch.
        """
        period = recipe.schedule.cycle_length
        cycle_ends = range(period, (last or recipe.epochs) + 1, period) if period else ()
        return tuple(cycle_ends[-self.cycles :])


Protocol = HeldOutMean | HeldOutCycleEnds


def protocol_of(
    recipe: Recipe, key: ProtocolKey | None = None, cycles: int = DEFAULT_CYCLE_COUNT
) -> Protocol:
    """Return the protocol for runs with a recipe.

    By default the protocol averages over cycle ends if the learning rate restarts during a run, and
    over the last epochs if it does not. A single cosine cycle has no restart.

    Args:
        recipe: recipe of the runs.
        key: name of the protocol; None for the default.
        cycles: number of cycle ends to average; reduced if a run completes fewer cycles.
    """
    period = recipe.schedule.cycle_length
    if key is None:
        restarts = period is not None and recipe.epochs > period
        key = HeldOutCycleEnds.key if restarts else HeldOutMean.key
    if key == HeldOutMean.key:
        return HeldOutMean(recipe.window)
    completed_cycles = recipe.epochs // period if period else 0
    return HeldOutCycleEnds(max(1, min(cycles, completed_cycles)))


def protocol_from_identity(identity: Mapping[str, str | int]) -> Protocol:
    """Return the protocol with a recorded name and settings.

    Args:
        identity: value of the attribute `identity` of the protocol.

    Raises:
        ValueError: if no protocol has this name, or its settings differ.
    """
    for protocol, count_key in ((HeldOutMean, "window"), (HeldOutCycleEnds, "cycles")):
        if identity.keys() == {"protocol", count_key} and identity["protocol"] == protocol.key:
            return protocol(int(identity[count_key]))
    raise ValueError(f"unknown protocol {dict(identity)}")
