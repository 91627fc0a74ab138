"""Paired comparisons: against formulas, published examples and simulation."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from reports.paired import (
    LEVEL,
    compare_paired,
    correct_by_holm,
    smallest_wilcoxon_n,
    smallest_wilcoxon_p,
)

# Sleep data of Student (1908): additional hours of sleep with two drugs, ten patients.
FIRST_DRUG = (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
SECOND_DRUG = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)


def by_seed(values: tuple[float, ...]) -> dict[int, float]:
    return dict(enumerate(values))


def test_a_published_example() -> None:
    comparison = compare_paired(by_seed(SECOND_DRUG), by_seed(FIRST_DRUG))
    assert comparison is not None
    assert comparison.n == 10
    assert comparison.mean == pytest.approx(1.58)
    # R: t.test(extra ~ group, data = sleep, paired = TRUE)
    assert comparison.t_p == pytest.approx(0.002833, abs=5e-7)
    assert (comparison.low, comparison.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-7)


def test_probabilities_are_those_of_the_posterior() -> None:
    differences = np.array([1.2, 0.3, 0.9])
    comparison = compare_paired(by_seed(tuple(90 + differences)), dict.fromkeys(range(3), 90.0))
    assert comparison is not None
    draws = stats.t.rvs(
        df=2,
        loc=differences.mean(),
        scale=differences.std(ddof=1) / math.sqrt(3),
        size=100_000,
        random_state=0,
    )
    assert comparison.p_better == pytest.approx(np.mean(draws > 0.5), abs=0.005)
    assert comparison.p_worse == pytest.approx(np.mean(draws < -0.5), abs=0.005)
    assert comparison.p_better + comparison.p_equivalent + comparison.p_worse == pytest.approx(1.0)


def test_only_common_seeds_are_compared() -> None:
    comparison = compare_paired({0: 91.0, 1: 92.0, 7: 10.0}, {1: 90.0, 0: 90.5, 8: 99.0})
    assert comparison is not None
    assert (comparison.n, comparison.mean) == (2, 1.25)
    assert compare_paired({0: 91.0, 1: 92.0}, {1: 90.0}) is None
    assert compare_paired({}, {}) is None


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.25, 0.0), (2.0, 0.0)])
def test_equal_differences(difference: float, p: float) -> None:
    second = {0: 90.0, 1: 80.0, 2: 85.0}
    first = {seed: accuracy + difference for seed, accuracy in second.items()}
    assert compare_paired({0: first[0], 1: first[1]}, second) is None
    comparison = compare_paired(first, second)
    assert comparison is not None
    assert comparison.t_p == p
    assert (comparison.low, comparison.high) == (difference, difference)
    assert comparison.p_better == float(difference > 0.5)
    assert comparison.p_equivalent == float(difference <= 0.5)


def test_the_order_of_the_entries_only_changes_signs() -> None:
    first, second = {0: 91.0, 1: 92.5, 2: 90.0}, {0: 90.0, 1: 90.7, 2: 89.9}
    forwards, backwards = compare_paired(first, second), compare_paired(second, first)
    assert forwards is not None
    assert backwards is not None
    assert backwards.mean == pytest.approx(forwards.reversed().mean)
    assert astuple(backwards) == pytest.approx(astuple(forwards.reversed()))
    assert forwards.mean == -backwards.mean
    assert forwards.t_p == pytest.approx(backwards.t_p)
    assert forwards.p_better == pytest.approx(backwards.p_worse)
    assert forwards.low == pytest.approx(-backwards.high)


@pytest.mark.parametrize("n", range(2, 9))
def test_the_smallest_p_value_of_the_signed_rank_test(n: int) -> None:
    p = stats.wilcoxon(np.arange(1, n + 1)).pvalue
    assert smallest_wilcoxon_p(n) == pytest.approx(p)
    assert (n >= smallest_wilcoxon_n()) == (p <= LEVEL)


def test_holm_on_a_worked_example() -> None:
    # The corrected values are those of R's p.adjust.
    assert correct_by_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct_by_holm([]) == []
    assert correct_by_holm([0.9, 0.8]) == [1.0, 1.0]


def test_equal_methods_are_rarely_told_apart() -> None:
    generator = np.random.default_rng(0)
    repetitions, methods, seeds = 500, 3, 5
    false_alarms = 0
    for _ in range(repetitions):
        noise_draw = generator.normal(0.0, 2.0, seeds)  # common to all methods at a seed
        accuracies = 90 + noise_draw + generator.normal(0.0, 1.0, (methods, seeds))
        p_values = [
            comparison.t_p
            for other in accuracies[1:]
            if (
                comparison := compare_paired(dict(enumerate(accuracies[0])), dict(enumerate(other)))
            )
        ]
        false_alarms += min(correct_by_holm(p_values)) < LEVEL
    assert false_alarms / repetitions < LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / repetitions)


def test_differences_that_are_equal_but_for_rounding_tell_no_variation() -> None:
    # 359 and 354 of 360 test images against 352 and 347.
    first = {0: 100 * 359 / 360, 1: 100 * 354 / 360}
    second = {0: 100 * 352 / 360, 1: 100 * 347 / 360}
    assert first[0] - second[0] != first[1] - second[1]
    assert compare_paired(first, second) is None
