"""Selection of the candidates after a search, and of the winner among them."""

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
        values: values of the searched hyperparameters.
        origin: "search" for values of a trial, "reference" for the reference.
    """

    values: Values
    origin: Literal["search", "reference"]


def select_candidates(
    completed: Sequence[tuple[Values, float]], count: int, reference: Values | None
) -> list[Candidate]:
    """Return the best distinct values of a search, best first, and the reference.

    Args:
        completed: values and objective of each complete trial.
        count: largest number of candidates from the search.
        reference: the paper's values; None if there are none.
    """
    best: list[Candidate] = []
    for values, _ in sorted(completed, key=lambda trial: -trial[1]):
        if len(best) < count and all(values != other.values for other in best):
            best.append(Candidate(values, "reference" if values == reference else "search"))
    if reference is not None and all(reference != other.values for other in best):
        best.append(Candidate(dict(reference), "reference"))
    return best


def choose(
    scores: Sequence[tuple[Candidate, Sequence[float]]],
    space: Mapping[str, Space],
    reference: Values | None,
    single_error: float,
) -> Candidate:
    """Return the candidate with the best mean, or the tied one nearest the reference.

    Candidates whose mean is within one standard error of the best mean are tied. The standard
    error is that of the best candidate's mean over its seeds (ddof 1), or `single_error` if it has
    one seed only. Distances are Euclidean in the unit cube of the search space, logarithmic where
    the space is.

    Args:
        scores: each candidate with its objective at every select seed.
        space: search space by name of hyperparameter.
        reference: the paper's values; if None, the best mean wins.
        single_error: standard error of one run's objective.
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
