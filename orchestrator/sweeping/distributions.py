"""Search spaces as distributions: Optuna's, in the order of conditions, and priors."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from trainables.run.parameters import Space, active_spaces, condition_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import optuna

    from orchestrator.planning.plan import Values
    from trainables.run.parameters import AnySpace, Scalar


def distribution_of(space: AnySpace) -> BaseDistribution:
    """Return the distribution of Optuna that has the values of a search space."""
    if not isinstance(space, Space):
        return CategoricalDistribution(space.choices)
    if space.integer:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def suggest(trial: optuna.Trial, spaces: Mapping[str, AnySpace]) -> Values:
    """Let Optuna propose the values of a trial, as Optuna stores them.

    A parameter whose conditions the values proposed so far do not meet has no value.

    Args:
        trial: trial that Optuna has started.
        spaces: search space by name of hyperparameter.
    """
    values: Values = {}
    for name in condition_order(spaces):
        if name in active_spaces(spaces, values):
            values[name] = _suggest_value(trial, name, spaces[name])
    return values


def _suggest_value(trial: optuna.Trial, name: str, space: AnySpace) -> Scalar:
    if not isinstance(space, Space):
        return cast("Scalar", trial.suggest_categorical(name, space.choices))
    if space.integer:
        return trial.suggest_int(name, int(space.low), int(space.high), log=space.log)
    return trial.suggest_float(name, space.low, space.high, log=space.log)


def values_at(
    spaces: Mapping[str, AnySpace], reference: Values | None, quantiles: Iterable[float]
) -> Values:
    """Return the values at quantiles of the priors: uniform ones for parameters without a prior.

    A prior is a normal distribution around the reference on the scale of the interval, truncated to
    the interval. Integers are drawn from the interval that reaches 0.5 beyond both bounds, and are
    rounded. A parameter whose conditions the values before do not meet has no value.

    Args:
        spaces: search space by name of hyperparameter.
        reference: published values of the parameters with a prior; None without a reference.
        quantiles: a number in [0, 1) for each parameter, in the order of conditions.
    """
    values: Values = {}
    for name, quantile in zip(condition_order(spaces), quantiles, strict=True):
        if name in active_spaces(spaces, values):
            centre = (reference or {}).get(name)
            values[name] = _value_at(spaces[name], centre, quantile)
    return values


def _value_at(space: AnySpace, centre: Scalar | None, quantile: float) -> Scalar:
    """Return the quantile of a parameter's prior.

    Args:
        space: search space of the parameter.
        centre: value around which the prior lies; None without a reference, as without a prior.
        quantile: number from 0 to 1.
    """
    if not isinstance(space, Space):
        return space.choices[min(int(quantile * len(space.choices)), len(space.choices) - 1)]
    scale, inverse = (math.log, math.exp) if space.log else (float, float)
    margin = 0.5 if space.integer else 0.0
    low, high = scale(space.low - margin), scale(space.high + margin)
    if space.prior is None or centre is None:
        value = low + quantile * (high - low)
    else:
        width = space.prior.width * (scale(space.high) - scale(space.low))
        prior = NormalDist(scale(float(centre)), width)
        below, above = prior.cdf(low), prior.cdf(high)
        value = prior.inv_cdf(below + quantile * (above - below))
    value = min(max(inverse(value), space.low), space.high)
    return round(value) if space.integer else value
