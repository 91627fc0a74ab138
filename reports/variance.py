"""Shares of the variance between runs that come from the random axes, such as the label noise.

The runs have every combination of the seeds of some axes, once. The training of a run is
deterministic, so that all variation comes from the axes and their interactions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from trainables.run.metrics import TEST_LAST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from reports.plan_record import CrossedRecord
    from reports.read import RecordedRun

AXIS_TITLES = {
    "noise": "label noise",
    "split": "held-out samples",
    "subset": "subset of the samples",
    "init": "initial weights",
    "order": "order of the samples",
    "augment": "augmentation",
    "method": "random numbers of the method",
}
"""Titles of the random axes in sentences."""


@dataclass(frozen=True, slots=True)
class VarianceShares:
    """Where the variation of an accuracy between runs comes from.

    Attributes:
        axes: names of the crossed random axes.
        seed_count: number of seeds of each axis.
        variances: variance that each axis adds, in squared points, by axis.
        interaction: variance that all interactions of axes add together, in squared points.
    """

    axes: tuple[str, ...]
    seed_count: int
    variances: Mapping[str, float]
    interaction: float

    @property
    def total(self) -> float:
        """Variance of a run for which all crossed axes have new seeds, in squared points."""
        return math.fsum([*self.variances.values(), self.interaction])

    @property
    def text(self) -> str:
        """The standard deviation and the share of each axis in words."""
        axes = sorted(self.axes, key=lambda axis: -self.variances[axis])
        parts = [
            *((AXIS_TITLES[axis], self.variances[axis]) for axis in axes),
            ("interactions of these", self.interaction),
        ]
        return ", ".join(
            f"{title} {math.sqrt(variance):.2f} points ({100 * self._share(variance):.0f} %)"
            for title, variance in parts
        )

    def _share(self, variance: float) -> float:
        return variance / self.total if self.total else 0.0


def shares_of_runs(
    crossed: CrossedRecord, runs: Mapping[str, RecordedRun]
) -> VarianceShares | None:
    """Return the shares of the variance of the test accuracy in the last epoch.

    Args:
        crossed: runs with all combinations of seeds.
        runs: recorded runs by digest.

    Returns:
        The shares; None if a run is missing or has not finished, since the analysis needs all
        combinations.
    """
    finished = [
        runs[digest]
        for digest in crossed.digests
        if digest in runs and runs[digest].status == "finished"
    ]
    values = [100 * run.metrics[TEST_LAST] for run in finished if TEST_LAST in run.metrics]
    if len(values) < len(crossed.digests):
        return None
    shape = [len(crossed.seeds)] * len(crossed.axes)
    return variance_shares(crossed.axes, np.array(values).reshape(shape))


def variance_shares(axes: list[str], accuracies: NDArray[np.float64]) -> VarianceShares:
    """Return the shares of a variance by an analysis of variance with random effects.

    The variances of the axes and of their interactions are estimated from the mean squares of the
    balanced design with one run per combination (Searle, Casella and McCulloch, Variance
    Components, 1992, section 4.4). Estimates of an axis or of all interactions together that are
    below zero are set to zero.

    Args:
        axes: names of the axes.
        accuracies: accuracy of each combination in percent, with one dimension per axis, all of the
            same length of at least 2.
    """
    level_count, axis_count = accuracies.shape[0], accuracies.ndim
    variances: dict[frozenset[int], float] = {}
    # From the interaction of all axes to single axes: a mean square also contains the variances of
    # all effects that include its own.
    for size in range(axis_count, 0, -1):
        for effect in map(frozenset, combinations(range(axis_count), size)):
            larger = math.fsum(
                level_count ** (axis_count - len(other)) * variance
                for other, variance in variances.items()
                if effect < other
            )
            run_count = level_count ** (axis_count - size)
            variances[effect] = (_mean_square(accuracies, effect) - larger) / run_count
    # Setting each interaction to zero by itself would make their sum too large on average.
    interaction = math.fsum(variance for effect, variance in variances.items() if len(effect) > 1)
    return VarianceShares(
        axes=tuple(axes),
        seed_count=level_count,
        variances={
            axis: max(0.0, variances[frozenset([index])]) for index, axis in enumerate(axes)
        },
        interaction=max(0.0, interaction),
    )


def _mean_square(accuracies: NDArray[np.float64], effect: frozenset[int]) -> float:
    """Return the mean square of the interaction of some axes, or of a single axis."""
    deviations = np.zeros_like(accuracies)
    for size in range(len(effect) + 1):
        for kept in combinations(sorted(effect), size):
            averaged = tuple(set(range(accuracies.ndim)) - set(kept))
            sign = (-1) ** (len(effect) - size)
            deviations += sign * accuracies.mean(axis=averaged, keepdims=True)
    return float((deviations**2).sum() / (accuracies.shape[0] - 1) ** len(effect))
