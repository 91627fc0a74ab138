"""Verdicts on whether a measured accuracy reproduces a published one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scipy.special import stdtrit

from reports.paired import LEVEL, ROPE, ROUNDING
from reports.words import format_count

if TYPE_CHECKING:
    from reports.aggregate import Statistic

MAX_SEEDS = 1000
"""Largest number of seeds that a verdict recommends."""

VERDICTS_NOTE = (
    f"Verdicts: two one-sided t-tests (TOST) at {100 * LEVEL:g} %. Reproduced: the means are shown "
    f"to differ by at most {ROPE:g} points. A published accuracy without n counts as one run."
)
"""Line to print under verdicts."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published accuracy.

    Attributes:
        mean: mean accuracy in percent.
        std: standard deviation over runs, in points; None if it is not published.
        n: number of runs; None if it is not published.
    """

    mean: float
    std: float | None
    n: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Comparison of a measured accuracy with a published one.

    Attributes:
        kind: "reproduced" if the means differ by at most the margin, "not reproduced" if they
            differ by more, "inconclusive" if the runs do not tell, "not comparable" if the two
            accuracies are of different things.
        difference: measured minus published mean, in points; None if nothing was measured.
        low: lower end of the 90 % interval of the difference, in points; None if unknown.
        high: upper end of this interval, in points; None if unknown.
        reason: what makes the verdict inconclusive or the accuracies not comparable; else "".
        caveat: what may differ between the two trainings although they are judged; "" for nothing.
    """

    kind: Literal["reproduced", "not reproduced", "inconclusive", "not comparable"]
    difference: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    caveat: str = ""


def judge(measured: Statistic, published: Published, margin: float = ROPE) -> Verdict:
    """Judge a measured accuracy by two one-sided t-tests (TOST; Schuirmann, 1987).

    The error of the difference is that of both means (Welch). A published accuracy without n counts
    as one run, and one without ± as one run that varies like the measured ones.

    Args:
        measured: accuracy over the finished seeds.
        published: accuracy to reproduce.
        margin: largest difference, in points, that counts as a reproduction.
    """
    if measured.mean is None:
        return Verdict("inconclusive", None, reason="no run has finished")
    difference = measured.mean - published.mean
    if measured.std is None:
        return Verdict("inconclusive", difference, reason="one seed tells no variation")
    if measured.n == 2 and measured.std < ROUNDING:
        return Verdict("inconclusive", difference, reason="two equal seeds tell no variation")
    half_width = _half_width(measured.std, measured.n, published)
    low, high = difference - half_width, difference + half_width
    if -margin < low and high < margin:
        return Verdict("reproduced", difference, low, high)
    if low > margin or high < -margin:
        return Verdict("not reproduced", difference, low, high)
    reason = _describe_need(measured.std, measured.n, difference, published, margin)
    return Verdict("inconclusive", difference, low, high, reason)


def _half_width(std: float, n: int, published: Published) -> float:
    """Return half of the width of the 90 % interval of the difference, in points."""
    published_n = published.n or 1
    published_std = std if published.std is None else published.std
    ours, theirs = std**2 / n, published_std**2 / published_n
    if ours + theirs == 0.0:
        return 0.0
    if published.std is None:  # one estimate of the variation for both
        degrees: float = n - 1
    else:
        # That of a single published run is taken as known.
        uncertainty = ours**2 / (n - 1)
        if published_n > 1:
            uncertainty += theirs**2 / (published_n - 1)
        degrees = (ours + theirs) ** 2 / uncertainty if uncertainty else math.inf
    return math.sqrt(ours + theirs) * float(stdtrit(degrees, 1 - LEVEL))


def _describe_need(
    std: float, n: int, difference: float, published: Published, margin: float
) -> str:
    """Return how many more seeds would decide, if mean and ± stay as they are."""
    distance = abs(abs(difference) - margin)
    for more_count in range(1, MAX_SEEDS - n + 1):
        if _half_width(std, n + more_count, published) < distance:
            return f"about {format_count(more_count, 'more seed')}"
    return f"not even {MAX_SEEDS} seeds would decide"
