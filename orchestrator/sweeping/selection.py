"""Selection of candidates (hyperparameter values) after a search, and of the best candidate."""

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
    """Hyperparameter values that the select phase tries on fresh seeds.

    Attributes:
        values: values of the searched hyperparameters.
        origin: "search" for values of a trial, "reference" for the values of the paper.
    """

    values: Values
    origin: Literal["search", "reference"]


def select_candidates(
    completed: Sequence[tuple[Values, float]], count: int, reference: Values | None
) -> list[Candidate]:
    """Return the candidates of a search: its best distinct values, and the reference.

    The best values come first.

    Args:
        completed: hyperparameter values and objective of each complete trial.
        count: largest number of candidates from the search.
        reference: values of the paper; None if there are none.
    """
    candidates: list[Candidate] = []
    for values, _ in sorted(completed, key=lambda trial: -trial[1]):
        if len(candidates) < count and all(values != candidate.values for candidate in candidates):
            candidates.append(Candidate(values, "reference" if values == reference else "search"))
    if reference is not None and all(reference != candidate.values for candidate in candidates):
        candidates.append(Candidate(dict(reference), "reference"))
    return candidates


def choose(
    scores: Sequence[tuple[Candidate, Sequence[float]]],
    space: Mapping[str, Space],
    reference: Values | None,
    single_run_error: float,
) -> Candidate:
    """Return the best candidate of the select phase.

    Candidates whose mean objective is within one standard error of the highest mean are tied. Of
    the tied candidates, the one nearest the reference is returned. Without a reference, it is the
    candidate with the highest mean.

    The standard error is that of the best candidate's mean over its seeds (ddof 1), or
    `single_run_error` if it has only one seed. Distances are Euclidean in the search space, whose
    intervals are mapped to [0, 1], on a logarithmic scale for logarithmic intervals.

    Args:
        scores: each candidate with its objectives, one for each seed.
        space: search space by name of hyperparameter.
        reference: values of the paper; None if there are none.
        single_run_error: standard error of the objective of one run.
    """
    means = [fmean(values) for _, values in scores]
    best_index = max(range(len(scores)), key=means.__getitem__)
    best_scores = scores[best_index][1]
    if reference is None:
        return scores[best_index][0]
    standard_error = (
        stdev(best_scores) / math.sqrt(len(best_scores))
        if len(best_scores) > 1
        else single_run_error
    )

    def distance(candidate: Candidate) -> float:
        return math.dist(
            [space[name].position(candidate.values[name]) for name in space],
            [space[name].position(reference[name]) for name in space],
        )

    tied_candidates = [
        scores[index][0]
        for index in range(len(scores))
        if means[index] >= means[best_index] - standard_error
    ]
    return min(tied_candidates, key=distance)
