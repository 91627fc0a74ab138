"""Comparison of two table entries by their paired accuracies: one difference for each seed.

At one seed of one scenario all methods see the same noisy labels and the same held-out samples, so
that the difference of two methods varies less between seeds than the accuracies do, if these are
correlated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scipy.special import stdtr, stdtrit
from scipy.stats import wilcoxon

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROPE = 0.5
"""Default region of practical equivalence: largest difference, in points, without meaning."""

ROUNDING = 1e-9
"""Variation of differences, in points, that is rounding of numbers that are equal."""

LEVEL = 0.05
"""Significance level of tests, and largest probability of each wrong verdict."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Difference of two entries, first minus second, over the seeds that both have finished.

    The probabilities are those of the posterior distribution of the mean difference under the
    uninformative prior: a Student distribution with n - 1 degrees of freedom (the correlated t-test
    of Corani and Benavoli, 2015, with correlation 0, since every seed is a training of its own).

    Attributes:
        n: number of seeds.
        mean: mean difference, in points.
        std: sample standard deviation of the differences (ddof 1), in points.
        low: lower end of the 95 % interval of the mean difference, in points.
        high: upper end of this interval, in points.
        t_p: p-value of the two-sided paired t-test.
        wilcoxon_p: p-value of the two-sided signed-rank test, exact for few seeds.
        p_better: probability that the first is better by more than the region of equivalence.
        p_equivalent: probability that the difference lies in the region of equivalence.
        p_worse: probability that the first is worse by more than the region of equivalence.
    """

    n: int
    mean: float
    std: float
    low: float
    high: float
    t_p: float
    wilcoxon_p: float
    p_better: float
    p_equivalent: float
    p_worse: float

    def reversed(self) -> PairedComparison:
        """Return the comparison of the second entry with the first."""
        return replace(
            self,
            mean=-self.mean,
            low=-self.high,
            high=-self.low,
            p_better=self.p_worse,
            p_worse=self.p_better,
        )


def compare_paired(
    first: Mapping[int, float], second: Mapping[int, float], rope: float = ROPE
) -> PairedComparison | None:
    """Compare two entries by the accuracies of the seeds that both have.

    Args:
        first: accuracy in percent, by seed.
        second: accuracy in percent of the other entry, by seed.
        rope: half of the width of the region of practical equivalence, in points.

    Returns:
        The comparison; None if no variation can be estimated: fewer than two seeds are in both, or
        just two, whose differences are equal.
    """
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        return None
    differences = [first[seed] - second[seed] for seed in seeds]
    n = len(differences)
    mean = math.fsum(differences) / n
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (n - 1))
    error = std / math.sqrt(n)
    is_constant = max(differences) - min(differences) < ROUNDING
    if is_constant and n == 2:
        return None
    if is_constant:
        return _without_variation(n, mean, rope)
    half_width = error * float(stdtrit(n - 1, 0.975))
    p_better = float(stdtr(n - 1, (mean - rope) / error))
    p_worse = float(stdtr(n - 1, (-rope - mean) / error))
    return PairedComparison(
        n=n,
        mean=mean,
        std=std,
        low=mean - half_width,
        high=mean + half_width,
        t_p=float(2 * stdtr(n - 1, -abs(mean / error))),
        wilcoxon_p=float(wilcoxon(differences).pvalue),
        p_better=p_better,
        p_equivalent=1.0 - p_better - p_worse,
        p_worse=p_worse,
    )


def _without_variation(n: int, mean: float, rope: float) -> PairedComparison:
    """Return the comparison of entries whose difference is the same at all seeds."""
    return PairedComparison(
        n=n,
        mean=mean,
        std=0.0,
        low=mean,
        high=mean,
        t_p=0.0 if mean else 1.0,
        wilcoxon_p=smallest_wilcoxon_p(n) if mean else 1.0,
        p_better=float(mean > rope),
        p_equivalent=float(abs(mean) <= rope),
        p_worse=float(mean < -rope),
    )


def smallest_wilcoxon_p(n: int) -> float:
    """Return the smallest p-value that the two-sided signed-rank test of n differences can have."""
    return min(1.0, 2.0 ** (1 - n))


def smallest_wilcoxon_n() -> int:
    """Return the smallest number of seeds with which the signed-rank test can be significant."""
    return math.ceil(1 - math.log2(LEVEL))


def correct_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down procedure, in the same order.

    All comparisons together then have a probability of at most the level to contain a false one
    (Holm, 1979).
    """
    count = len(p_values)
    corrected = [0.0] * count
    largest = 0.0
    for rank, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
