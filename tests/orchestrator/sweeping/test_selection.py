from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from factories import make_result, make_spec

from orchestrator.planning.protocol import HeldOutAccuracy
from orchestrator.sweeping.selection import Candidate, choose_candidate, select_candidates
from trainables.run.parameters import ChoiceSpace, Space
from trainables.run.protocols import HeldOutCycleEnds, HeldOutMean
from trainables.run.recipe import Recipe
from trainables.run.schedules import CosineRestarts

if TYPE_CHECKING:
    from orchestrator.planning.plan import Values
    from trainables.run.parameters import AnySpace

SPACE = {"lambda": Space(0.1, 10, log=True), "alpha": Space(0.5, 1.0)}
REFERENCE: Values = {"lambda": 1.0, "alpha": 0.75}


def values_at(lambda_: float, alpha: float = 0.75) -> Values:
    return {"lambda": lambda_, "alpha": alpha}


def candidate(lambda_: float, alpha: float = 0.75) -> Candidate:
    return Candidate(values_at(lambda_, alpha), "search")


def test_the_value_is_the_mean_of_the_last_epochs() -> None:
    # Held-out accuracies of the last three epochs are 0.88, 0.91 and 0.90.
    result = make_result(make_spec(epochs=6, window=3), accuracy=0.9)
    value = HeldOutAccuracy(HeldOutMean(3), class_count=10, held_out_count=431).compute(result)
    assert value == pytest.approx((0.88 + 0.91 + 0.90) / 3)


def test_a_diverged_run_counts_as_chance() -> None:
    result = make_result(accuracy=0.9, diverged_at=5)
    assert (
        HeldOutAccuracy(HeldOutMean(3), class_count=10, held_out_count=431).compute(result) == 0.1
    )


def test_the_test_split_is_not_used() -> None:
    spec = make_spec(evaluate=("test",))
    assert HeldOutAccuracy(HeldOutMean(3), 10, 431).compute(make_result(spec, accuracy=0.9)) == 0.1


def test_the_standard_error_is_binomial() -> None:
    assert HeldOutAccuracy(HeldOutMean(10), 10, 431).standard_error == pytest.approx(
        0.02408, abs=1e-5
    )
    assert HeldOutAccuracy(HeldOutMean(10), 10, 10_000).standard_error == 0.005


def test_cycle_ends_are_averaged_where_they_choose() -> None:
    recipe = Recipe(6, 64, 0.05, schedule=CosineRestarts(2), window=1)
    # Held-out accuracies after epochs 2, 4 and 6 are 0.86, 0.88 and 0.90.
    result = make_result(make_spec(recipe=recipe), accuracy=0.9)
    for cycles, mean in ((1, 0.90), (2, 0.89), (3, 0.88)):
        objective = HeldOutAccuracy(HeldOutCycleEnds(cycles), class_count=10, held_out_count=431)
        assert objective.compute(result) == pytest.approx(mean)


def test_candidates_are_the_best_trials_in_order_and_the_reference() -> None:
    result = select_candidates(
        [(values_at(1), 0.5), (values_at(2), 0.9), (values_at(3), 0.7), (values_at(4), 0.8)],
        2,
        REFERENCE,
    )
    assert result == [
        Candidate(values_at(2), "search"),
        Candidate(values_at(4), "search"),
        Candidate(values_at(1), "reference"),
    ]


def test_a_reference_among_the_best_counts_as_one_of_them() -> None:
    result = select_candidates(
        [(values_at(1), 0.95), (values_at(2), 0.9), (values_at(3), 0.7)], 2, REFERENCE
    )
    assert result == [Candidate(values_at(1), "reference"), Candidate(values_at(2), "search")]


def test_candidates_are_distinct() -> None:
    result = select_candidates(
        [(values_at(2), 0.9), (values_at(2), 0.9), (values_at(3), 0.7)], 2, None
    )
    assert [one.values for one in result] == [values_at(2), values_at(3)]


def test_fewer_trials_than_candidates() -> None:
    assert select_candidates([(values_at(2), 0.9)], 3, None) == [Candidate(values_at(2), "search")]
    assert select_candidates([], 3, REFERENCE) == [Candidate(REFERENCE, "reference")]
    assert select_candidates([], 3, None) == []


def choose(
    scores: list[tuple[Candidate, list[float]]],
    reference: Values | None,
    single_run_standard_error: float,
) -> Candidate:
    """Choose among candidates whose objectives are those of seeds 0, 1, 2 and so on."""
    by_seed = [(one, dict(enumerate(objectives))) for one, objectives in scores]
    return choose_candidate(by_seed, SPACE, reference, single_run_standard_error)


def test_a_clear_winner_is_chosen_at_any_distance() -> None:
    scores = [(candidate(10), [0.90, 0.91, 0.92]), (candidate(1), [0.80, 0.81, 0.82])]
    assert choose(scores, REFERENCE, 0.02) == candidate(10)


def test_a_tie_goes_to_the_candidate_nearest_the_reference() -> None:
    # Standard error of the best: 0.03 / sqrt(3) = 0.0173.
    best = [0.87, 0.90, 0.93]
    error = 0.03 / math.sqrt(3)
    inside = [0.9 - error + 1e-6] * 3
    outside = [0.9 - error - 1e-6] * 3
    assert choose([(candidate(10), best), (candidate(2), inside)], REFERENCE, 0.02) == candidate(2)
    assert choose([(candidate(10), best), (candidate(2), outside)], REFERENCE, 0.02) == candidate(
        10
    )


def test_the_nearest_tied_candidate_wins_not_the_second_best() -> None:
    scores = [
        (candidate(10), [0.8, 1.0]),
        (candidate(5), [0.89, 0.89]),
        (candidate(1), [0.85, 0.85]),
    ]
    assert choose(scores, REFERENCE, 0.02) == candidate(1)


def test_distance_is_measured_in_logarithms() -> None:
    # 0.25 is nearer to 1 than 5 in numbers, but 5 is log 5 away and 0.15 is log 6.7.
    tied = [0.8, 1.0]
    scores = [(candidate(0.15), tied), (candidate(5), tied)]
    assert choose(scores, REFERENCE, 0.02) == candidate(5)


def test_distance_uses_every_hyperparameter() -> None:
    tied = [0.8, 1.0]
    # λ a factor 2 away is 0.15 of its range; α 0.2 away is 0.4 of its range.
    scores = [(candidate(1, 0.95), tied), (candidate(2, 0.75), tied)]
    assert choose(scores, REFERENCE, 0.02) == candidate(2, 0.75)


def test_with_one_seed_the_error_of_a_single_run_decides_ties() -> None:
    single = [(candidate(10), [0.9]), (candidate(1), [0.89])]
    assert choose(single, REFERENCE, 0.02) == candidate(1)
    assert choose(single, REFERENCE, 0.005) == candidate(10)


def test_without_a_reference_the_best_mean_wins() -> None:
    several = [(candidate(10), [0.8, 1.0]), (candidate(1), [0.8, 0.9])]
    assert choose(several, None, 0.02) == candidate(10)


def test_ties_are_judged_by_paired_differences() -> None:
    # The seeds differ by far more than the candidates, which differ by 0.02 at every seed but for
    # 0.001: the standard error of a mean is 0.06, that of the mean difference 0.0006.
    best, other = [0.80, 0.90, 1.00], [0.781, 0.880, 0.979]
    assert choose([(candidate(10), best), (candidate(1), other)], REFERENCE, 0.02) == candidate(10)


def test_only_shared_seeds_are_compared() -> None:
    scores = [(candidate(10), {0: 0.9, 1: 0.8}), (candidate(1), {1: 0.81, 2: 0.7})]
    assert choose_candidate(scores, SPACE, REFERENCE, 0.02) == candidate(1)


@pytest.mark.parametrize(
    ("near", "far"),
    [
        # Another choice and a missing value have the distance 1 each; here n and alpha have
        # 0.75 and 0.5.
        ({"kind": "a", "n": 5, "alpha": 1.0}, {"kind": "b", "alpha": 0.75}),
        ({"kind": "b", "alpha": 0.75}, {"kind": "b", "alpha": 0.76}),
        ({"kind": "a", "n": 3, "alpha": 0.75}, {"kind": "a", "n": 4, "alpha": 0.75}),
    ],
)
def test_the_nearest_of_tied_candidates_with_choices_and_conditions(
    near: Values, far: Values
) -> None:
    space: dict[str, AnySpace] = {
        "kind": ChoiceSpace(("a", "b")),
        "n": Space(1, 5, integer=True, when={"kind": ("a",)}),
        "alpha": Space(0.5, 1.0),
    }
    reference: Values = {"kind": "a", "n": 2, "alpha": 0.75}
    scores = [(Candidate(values, "search"), {0: 0.9, 1: 0.9}) for values in (far, near)]
    assert choose_candidate(scores, space, reference, 0.02).values == near
