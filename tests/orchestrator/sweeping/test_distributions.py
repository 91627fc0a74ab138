from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import kstest, truncnorm

from orchestrator.sweeping.distributions import distribution_of, suggest, values_at
from trainables.run.parameters import ChoiceSpace, Prior, Space, active_spaces

if TYPE_CHECKING:
    from orchestrator.planning.plan import Values
    from trainables.run.parameters import AnySpace

CONDITIONAL: dict[str, AnySpace] = {
    "interval": Space(1, 4, integer=True, when={"kind": ("soft", "mixed")}),
    "kind": ChoiceSpace(("hard", "soft", "mixed")),
    "rate": Space(1e-3, 1, log=True),
    "decay": Space(0.5, 0.99, when={"interval": (2, 3)}),
}
"""A parameter whose condition comes after it, and one whose condition is conditional itself."""


@pytest.mark.parametrize(
    ("space", "distribution"),
    [
        (Space(0.5, 0.99), FloatDistribution(0.5, 0.99)),
        (Space(0.05, 20, log=True), FloatDistribution(0.05, 20, log=True)),
        (Space(1, 9, integer=True), IntDistribution(1, 9)),
        (Space(1, 64, log=True, integer=True), IntDistribution(1, 64, log=True)),
        (ChoiceSpace((True, False)), CategoricalDistribution((True, False))),
        (ChoiceSpace(("soft", "hard")), CategoricalDistribution(("soft", "hard"))),
    ],
)
def test_spaces_are_distributions_of_optuna(space: AnySpace, distribution: object) -> None:
    assert distribution_of(space) == distribution


def test_optuna_proposes_values_of_the_declared_types_and_distributions() -> None:
    spaces: dict[str, AnySpace] = {
        "flag": ChoiceSpace((False, True)),
        "count": Space(1, 64, log=True, integer=True),
        "rate": Space(1e-3, 1, log=True),
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    values = suggest(trial, spaces)
    assert values == trial.params
    assert {name: type(value) for name, value in values.items()} == {
        "flag": bool,
        "count": int,
        "rate": float,
    }
    assert trial.distributions == {name: distribution_of(each) for name, each in spaces.items()}


def conditions_hold(values: Values) -> bool:
    has_interval = values["kind"] in ("soft", "mixed")
    has_decay = has_interval and values.get("interval") in (2, 3)
    return ("interval" in values, "decay" in values) == (has_interval, has_decay)


def test_only_parameters_whose_conditions_are_met_are_proposed() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposals = [suggest(study.ask(), CONDITIONAL) for _ in range(60)]
    assert all(map(conditions_hold, proposals))
    assert {len(values) for values in proposals} == {2, 3, 4}
    for values in proposals:
        assert set(active_spaces(CONDITIONAL, values)) == set(values)


def draws(spaces: dict[str, AnySpace], reference: Values | None, count: int) -> list[Values]:
    quantiles = np.random.default_rng(7).random((count, len(spaces)))
    return [values_at(spaces, reference, map(float, row)) for row in quantiles]


def column(spaces: dict[str, AnySpace], reference: Values | None, name: str) -> Any:
    values = [each[name] for each in draws(spaces, reference, 4000)]
    return np.array(values, dtype=np.float64)


def test_a_prior_is_a_normal_distribution_truncated_to_the_interval() -> None:
    space = Space(0.5, 1.0, prior=Prior(0.2))
    values = column({"alpha": space}, {"alpha": 0.9}, "alpha")
    # The standard deviation is 0.2 × 0.5 = 0.1; the bounds lie 4 and 1 of them from the reference.
    expected = truncnorm(-4, 1, loc=0.9, scale=0.1)
    assert kstest(values, expected.cdf).pvalue > 0.01
    assert values.mean() == pytest.approx(expected.mean(), abs=4 * expected.std() / 4000**0.5)
    assert values.std() == pytest.approx(expected.std(), rel=0.05)
    assert 0.5 <= values.min() < 0.65
    assert 0.99 < values.max() <= 1.0


def test_the_width_of_a_prior_is_a_fraction_of_the_logarithmic_scale() -> None:
    space = Space(0.01, 100, log=True, prior=Prior(0.25))
    values = np.log10(column({"lambda": space}, {"lambda": 1.0}, "lambda"))
    # Four decades: the standard deviation is one decade, and the bounds are two of them away.
    assert kstest(values, truncnorm(-2, 2).cdf).pvalue > 0.01
    assert 10 ** np.median(values) == pytest.approx(1.0, rel=0.15)


def test_an_integer_has_the_mass_of_half_a_unit_on_both_sides() -> None:
    space = Space(1, 5, integer=True, prior=Prior(0.25))
    values = [each["n"] for each in draws({"n": space}, {"n": 2}, 4000)]
    assert {type(value) for value in values} == {int}
    normal = NormalDist(2, 1)  # 0.25 × (5 - 1)
    inside = normal.cdf(5.5) - normal.cdf(0.5)
    for value in range(1, 6):
        share = (normal.cdf(value + 0.5) - normal.cdf(value - 0.5)) / inside
        error = 4 * math.sqrt(share * (1 - share) / 4000)
        assert values.count(value) / 4000 == pytest.approx(share, abs=error)


def test_without_a_prior_all_values_are_equally_likely() -> None:
    spaces: dict[str, AnySpace] = {
        "kind": ChoiceSpace(("hard", "soft", "mixed")),
        "n": Space(1, 4, integer=True),
        "rate": Space(1e-3, 1, log=True),
    }
    values = draws(spaces, None, 4000)
    for name, shares in (("kind", 3), ("n", 4)):
        counts = [[each[name] for each in values].count(one) for one in {v[name] for v in values}]
        assert len(counts) == shares
        assert all(count / 4000 == pytest.approx(1 / shares, abs=0.03) for count in counts)
    logarithms = np.log10([float(each["rate"]) for each in values])
    assert kstest(logarithms, "uniform", args=(-3, 3)).pvalue > 0.01


def test_draws_follow_conditions() -> None:
    first = draws(CONDITIONAL, None, 60)
    assert all(map(conditions_hold, first))
    assert {len(values) for values in first} == {2, 3, 4}


def test_a_narrow_prior_at_a_bound_stays_in_the_interval() -> None:
    space = Space(0.5, 0.99, prior=Prior(1e-4))
    values = column({"alpha": space}, {"alpha": 0.99}, "alpha")
    assert 0.9895 < values.min() <= values.max() <= 0.99
