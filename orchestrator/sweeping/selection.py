"""Selection of hyperparameter values after a search: of candidates, and of the best candidate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.planning.plan import Values
    from trainables.run.parameters import AnySpace


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hyperparameter values that the select phase tries on fresh seeds.

    Attributes:
        values: values of the searched hyperparameters.
        origin: "search" for values of a trial, "reference" for those of the paper.
    """

    values: Values
    origin: Literal["search", "reference"]


def select_candidates(
    completed_trials: Sequence[tuple[Values, float]],
    max_search_candidates: int,
    reference: Values | None,
) -> list[Candidate]:
    """Return the best distinct hyperparameter values of a search, and those of the method's paper.

    The candidates are in the order of their objectives, the best first. The paper's values come
    last if they are not among the best values of the search.

    Args:
        completed_trials: hyperparameter values and objective of each complete trial.
        max_search_candidates: largest number of candidates from the search.
        reference: values of the method's paper; None if they are unknown.
    """
    candidates: list[Candidate] = []
    for values, _ in sorted(completed_trials, key=lambda trial: -trial[1]):
        is_new = all(values != candidate.values for candidate in candidates)
        if is_new and len(candidates) < max_search_candidates:
            candidates.append(Candidate(values, "reference" if values == reference else "search"))
    if reference is not None and all(reference != candidate.values for candidate in candidates):
        candidates.append(Candidate(dict(reference), "reference"))
    return candidates


def choose_candidate(
    scores: Sequence[tuple[Candidate, Mapping[int, float]]],
    space: Mapping[str, AnySpace],
    reference: Values | None,
    single_run_standard_error: float,
) -> Candidate:
    """Return the best candidate of the select phase, by the one-standard-error rule.

    Candidates whose mean objective is lower than the highest mean by at most one standard error of
    the difference are tied with the best. The tied candidate nearest the reference (the values of
    the method's paper) is returned. Without a reference, the candidate with the highest mean is
    returned.

    Differences are paired, since at one seed all candidates have the same noisy labels and held-out
    samples: the standard error is that of the mean difference over the shared seeds (ddof 1). With
    a single shared seed, it is `single_run_standard_error`. Distances are Euclidean in the search
    space, whose intervals are mapped to [0, 1], logarithmic intervals on a logarithmic scale. Two
    choices have the distance 1, as have a value and none.

    Args:
        scores: each candidate with its objectives, by seed.
        space: search space by name of hyperparameter.
        reference: values of the method's paper; None if they are unknown.
        single_run_standard_error: standard error of the objective of one run.
    """
    means = [fmean(objectives.values()) for _, objectives in scores]
    best_index = max(range(len(scores)), key=means.__getitem__)
    best_candidate, best_objectives = scores[best_index]
    if reference is None:
        return best_candidate

    def is_tied(objectives: Mapping[int, float]) -> bool:
        differences = [
            best_objectives[seed] - objectives[seed]
            for seed in sorted(best_objectives.keys() & objectives.keys())
        ]
        if not differences:
            return False
        standard_error = (
            stdev(differences) / math.sqrt(len(differences))
            if len(differences) > 1
            else single_run_standard_error
        )
        return fmean(differences) <= standard_error

    def distance(candidate: Candidate) -> float:
        values = candidate.values
        return math.hypot(
            *(
                space[name].distance(values[name], reference[name])
                if name in values and name in reference
                else float(name in values or name in reference)
                for name in space
            )
        )

    tied_candidates = [
        candidate
        for candidate, objectives in scores
        if candidate is best_candidate or is_tied(objectives)
    ]
    return min(tied_candidates, key=distance)
