"""Shares of the variance of crossed runs, against designs whose variances are known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from factories import make_cell, make_plan, make_result, make_spec
from recorded import recorded_runs

from reports.comparison import comparison_table
from reports.plan_record import CrossedRecord
from reports.variance import variance_shares
from trainables.run.seeds import Seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainables.run.spec import RunSpec

AXES = ["noise", "init", "order"]


def test_axes_that_add_up_have_the_variances_of_their_effects() -> None:
    noise, init = np.array([90.0, 92.0, 97.0]), np.array([0.0, 0.5, 2.5])
    shares = variance_shares(["noise", "init"], noise[:, None] + init[None, :])
    assert shares.variances["noise"] == pytest.approx(noise.var(ddof=1))
    assert shares.variances["init"] == pytest.approx(init.var(ddof=1))
    assert shares.interaction == pytest.approx(0.0)
    assert shares.total == pytest.approx(noise.var(ddof=1) + init.var(ddof=1))


def test_two_axes_equal_the_textbook_formulas() -> None:
    values = np.array([[90.0, 91.0, 95.0], [88.0, 94.0, 92.0], [97.0, 93.0, 96.0]])
    rows, columns, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    rest = values - rows[:, None] - columns[None, :] + mean
    mean_square_rows = 3 * ((rows - mean) ** 2).sum() / 2
    mean_square_columns = 3 * ((columns - mean) ** 2).sum() / 2
    mean_square_rest = (rest**2).sum() / 4
    assert mean_square_columns < mean_square_rest  # so that its estimate would be negative
    shares = variance_shares(["noise", "init"], values)
    assert shares.interaction == pytest.approx(mean_square_rest)
    assert shares.variances["noise"] == pytest.approx((mean_square_rows - mean_square_rest) / 3)
    assert shares.variances["init"] == 0.0


def test_the_variances_of_three_random_axes_are_recovered() -> None:
    random, levels = np.random.default_rng(0), 40
    stds = {(0,): 3.0, (1,): 1.0, (2,): 0.5, (0, 1): 0.8, (1, 2): 0.6, (0, 1, 2): 0.4}
    values = np.full((levels,) * 3, 90.0)
    for effect, std in stds.items():
        shape = [levels if axis in effect else 1 for axis in range(3)]
        values = values + random.normal(0, std, shape)
    shares = variance_shares(AXES, values)
    for index, axis in enumerate(AXES):
        # The standard error of a variance over 40 levels is 23 % of it.
        assert shares.variances[axis] == pytest.approx(stds[index,] ** 2, rel=0.5)
    assert shares.interaction == pytest.approx(0.8**2 + 0.6**2 + 0.4**2, rel=0.1)


def test_the_share_of_interactions_is_not_inflated_by_their_number() -> None:
    random = np.random.default_rng(1)
    estimates = [
        variance_shares(AXES, 90 + random.normal(0, 1, (2, 2, 2))).interaction for _ in range(400)
    ]
    # The variance of one run is 1, all of it from the interaction of all three axes. Estimates
    # below zero are set to zero once, not for each interaction, which gave 2.0.
    assert np.mean(estimates) < 1.4


def crossed_specs(seeds: Sequence[int]) -> list[RunSpec]:
    return [
        make_spec(
            seeds=Seeds.from_base_seed(0, subset=0, noise=noise, init=init),
            values={"lambda": 0.5, "alpha": 0.9},
        )
        for noise in seeds
        for init in seeds
    ]


@pytest.mark.parametrize("missing_count", [0, 1])
def test_a_table_states_where_its_variation_comes_from(missing_count: int) -> None:
    specs = crossed_specs((0, 1))
    crossed = CrossedRecord(["noise", "init"], [0, 1], [spec.digest for spec in specs])
    # Noise changes the accuracy by 4 points and the initial weights by 1.
    accuracies = (0.90, 0.91, 0.94, 0.95)
    results = [
        make_result(spec, accuracy=accuracy)
        for spec, accuracy in zip(specs, accuracies, strict=True)
    ]
    cell = make_cell(seeds=(0,), crossed=crossed)
    runs = recorded_runs(results[: len(results) - missing_count])
    notes = " ".join(comparison_table(make_plan([cell]), runs).notes)
    if missing_count:
        assert "not all of the 4 runs with crossed seeds have finished" in notes
        return
    assert (
        f"label noise {math.sqrt(8):.2f} points (94 %), "
        f"initial weights {math.sqrt(0.5):.2f} points (6 %), "
        "interactions of these 0.00 points (0 %); 4 runs, all combinations of 2 seeds each"
    ) in notes
    assert (
        "the standard error of a standard deviation over 2 seeds is at least about 71 % of it"
        in notes
    )


def test_the_plan_names_the_crossed_runs_and_keeps_them_in_json() -> None:
    crossed = CrossedRecord(["noise", "init"], [0, 1], ["a" * 64, "b" * 64, "c" * 64, "d" * 64])
    plan = make_plan([make_cell(crossed=crossed), make_cell("ce")])
    assert set(crossed.digests) < plan.digests
    assert type(plan).from_json(plan.to_json()) == plan
