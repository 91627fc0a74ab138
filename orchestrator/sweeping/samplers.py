"""Samplers: rules that propose the values of a search's trials.

A proposal is a pure function of its `Request`: it depends neither on the clock nor on proposals
before it. A search that was interrupted, or whose runs ended in another order, therefore proposes
the same values again.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from orchestrator.sweeping.distributions import distribution_of, suggest, values_at
from orchestrator.sweeping.gp_process import shared_gp_process
from orchestrator.sweeping.trials import Trial, TrialState
from search_spaces.grid import grid_points
from trainables.run.parameters import Space
from trainables.run.seeds import derive_seed, permutation, uniform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.trial import FrozenTrial

    from orchestrator.planning.plan import Values
    from search_spaces.schema import Study
    from trainables.run.parameters import AnySpace, Scalar

SIGNIFICANT_DIGITS = 4
"""Number of significant digits of proposed values, so that users can type the values."""

RANDOM_TRIAL_COUNT = 10
"""Number of results before which models propose random values, as is the default of Optuna."""

OPTUNA_STATES = {
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.STOPPED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}
"""State of a trial in Optuna."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a proposal depends on.

    Attributes:
        spaces: search space by name of hyperparameter.
        reference: published values, around which priors lie; None without a reference.
        seed: seed of the search.
        number: position among the proposals of the sampler, from 0.
        trials: trials that the sampler may learn from, in a fixed order: those of earlier sweeps
            and those that have ended. Trials without a result yet are RUNNING.
    """

    spaces: Mapping[str, AnySpace]
    reference: Values | None
    seed: int
    number: int
    trials: Sequence[Trial]

    @property
    def sampler_seed(self) -> int:
        """Seed of the random numbers of this proposal."""
        return derive_seed("search", self.seed, self.number) % 2**32

    @property
    def draws_from_priors(self) -> bool:
        """Whether a model has too few results for a proposal, and the study states priors."""
        result_count = sum(
            trial.state in (TrialState.COMPLETE, TrialState.STOPPED) for trial in self.trials
        )
        has_priors = any(
            isinstance(space, Space) and space.prior is not None for space in self.spaces.values()
        )
        return has_priors and result_count < RANDOM_TRIAL_COUNT


class Sampler(Protocol):
    """Rule that proposes values of the searched hyperparameters."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name and settings of the sampler, which enter the digest of a search."""

    def propose(self, request: Request) -> Values:
        """Return the proposed values, which are not rounded."""


class TpeSampler:
    """Tree-structured Parzen estimator (Bergstra et al., 2011), as Optuna implements it.

    It models all hyperparameters jointly, and takes running trials for bad ones, so that trials
    that run at the same time try different values.
    """

    identity: Mapping[str, Any] = {"name": "tpe", "multivariate": True, "constant_liar": True}

    def propose(self, request: Request) -> Values:
        """Return the values that TPE proposes; random ones before there are ten results."""
        if request.draws_from_priors:
            return RandomSampler().propose(request)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=request.sampler_seed,
                multivariate=True,
                constant_liar=True,
                n_startup_trials=RANDOM_TRIAL_COUNT,
                # Parameters with the same conditions are modelled jointly.
                group=any(space.when for space in request.spaces.values()),
            )
        return propose_with(sampler, request)


class GpSampler:
    """Gaussian process with log expected improvement, as Optuna implements it.

    It is used in a process of its own, since it imports torch.
    """

    identity: Mapping[str, Any] = {"name": "gp"}

    def propose(self, request: Request) -> Values:
        """Return the values that the model proposes; random ones before there are ten results."""
        if request.draws_from_priors:
            return RandomSampler().propose(request)
        return shared_gp_process().propose(request)


class RandomSampler:
    """Independent draws from priors, or uniform on the scale of each hyperparameter."""

    identity: Mapping[str, Any] = {"name": "random"}

    def propose(self, request: Request) -> Values:
        """Return random values."""
        coordinates = uniform(len(request.spaces), "search", request.seed, request.number)
        return values_at(request.spaces, request.reference, map(float, coordinates))


class QmcSampler:
    """Points of a scrambled Sobol sequence, which cover the space more evenly than random ones."""

    identity: Mapping[str, Any] = {"name": "qmc", "sequence": "sobol", "scramble": True}

    def propose(self, request: Request) -> Values:
        """Return the next point of the sequence, whose scrambling depends on the search's seed."""
        from scipy.stats import qmc  # slow to import

        sequence = qmc.Sobol(
            len(request.spaces),
            scramble=True,
            seed=np.random.default_rng(derive_seed("search", request.seed)),
        )
        if request.number:
            sequence.fast_forward(request.number)
        return values_at(request.spaces, request.reference, map(float, sequence.random(1)[0]))


class GridSampler:
    """All points of a grid, in an order that depends on the search's seed."""

    def __init__(self, points: Sequence[Values]) -> None:
        """Create the sampler.

        Args:
            points: points of the grid, in any fixed order.
        """
        self._points = points

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name of the sampler, and the points of the grid."""
        return {"name": "grid", "points": [dict(point) for point in self._points]}

    def propose(self, request: Request) -> Values:
        """Return the next point of the grid."""
        order = permutation(len(self._points), "search", request.seed)
        return dict(self._points[order[request.number]])


def sampler_of(study: Study, method: str) -> Sampler:
    """Return the sampler that a study chooses for the search of a method."""
    match study.search.sampler:
        case "tpe":
            return TpeSampler()
        case "gp":
            return GpSampler()
        case "random":
            return RandomSampler()
        case "qmc":
            return QmcSampler()
        case "grid":
            return GridSampler(grid_points(study, method))


def propose_with(sampler: optuna.samplers.BaseSampler, request: Request) -> Values:
    """Return the values that a sampler of Optuna proposes in a new study with some trials.

    Args:
        sampler: sampler without a state, whose seed is that of the request.
        request: what the proposal depends on.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(optuna_trial(trial, request.spaces) for trial in request.trials)
    return suggest(study.ask(), request.spaces)


def optuna_trial(
    trial: Trial, spaces: Mapping[str, AnySpace], attributes: Mapping[str, Any] | None = None
) -> FrozenTrial:
    """Return a trial as Optuna stores it.

    Args:
        trial: trial, whose values lie in the search space.
        spaces: search space by name of hyperparameter.
        attributes: user attributes of the trial.
    """
    return create_trial(
        state=OPTUNA_STATES[trial.state],
        params=trial.values,
        distributions={name: distribution_of(spaces[name]) for name in trial.values},
        value=trial.objective,
        intermediate_values=dict(trial.steps),
        user_attrs=dict(attributes or {}),
    )


def round_values(values: Values, spaces: Mapping[str, AnySpace]) -> Values:
    """Return values with real numbers rounded to `SIGNIFICANT_DIGITS`, inside the search space.

    Args:
        values: values of the searched hyperparameters, by name.
        spaces: search space by name of hyperparameter.
    """
    return {
        name: _round_value(values[name], space) for name, space in spaces.items() if name in values
    }


def _round_value(value: Scalar, space: AnySpace) -> Scalar:
    if not isinstance(space, Space) or space.integer:
        return value
    return space.clip(float(f"{value:.{SIGNIFICANT_DIGITS}g}"))
