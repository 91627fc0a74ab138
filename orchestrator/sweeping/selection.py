"""Which values are tried on fresh seeds, and which of them are chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.planning.plan import Values
    from trainables.run.parameters import Space


@dataclass(frozen=True, slots=True)
class Candidate:
    """Values that the select phase tries on fresh seeds.

    Attributes:
        values: of the searched parameters.
        origin: "search" or "reference"; the reference is always tried.
    """

    values: Values
    origin: Literal["search", "reference"]


def candidates(
    completed: Sequence[tuple[Values, float]], count: int, reference: Values | None
) -> list[Candidate]:
    """Return the best distinct values of a search, and the reference.

    Args:
        completed: values and objective of the search's trials.
        count: how many of the best.
        reference: the paper's point; None if there is none.
    """
    best: list[Candidate] = []
    for values, _ in sorted(completed, key=lambda trial: -trial[1]):
        if len(best) < count and all(values != known.values for known in best):
            best.append(Candidate(values, "reference" if values == reference else "search"))
    if reference is not None and all(reference != known.values for known in best):
        best.append(Candidate(dict(reference), "reference"))
    return best


def choose(
    scores: Sequence[tuple[Candidate, Sequence[float]]],
    space: Mapping[str, Space],
    reference: Values | None,
    single_error: float,
) -> Candidate:
    """Return the candidate with the best mean; ties go to the one nearest the reference.

    Candidates within one standard error of the best mean (of the best candidate's own seeds, ddof
    1; `single_error` where it has only one) are tied. Distances are measured in the search space,
    in logarithms where it is so.

    Args:
        scores: each candidate with its value at every select seed.
        space: where was searched.
        reference: the paper's point; without one the best mean wins.
        single_error: standard error of one run's value.
    """
    means = [fmean(values) for _, values in scores]
    top = max(range(len(scores)), key=means.__getitem__)
    best = scores[top][1]
    if reference is None:
        return scores[top][0]
    error = stdev(best) / math.sqrt(len(best)) if len(best) > 1 else single_error

    def distance(candidate: Candidate) -> float:
        return math.dist(
            [space[name].position(candidate.values[name]) for name in space],
            [space[name].position(reference[name]) for name in space],
        )

    tied = [scores[i][0] for i in range(len(scores)) if means[i] >= means[top] - error]
    return min(tied, key=distance)
