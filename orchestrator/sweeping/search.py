"""Hyperparameter search with Optuna's ask-and-tell interface and a persistent database.

The Optuna study is named by the search's digest, so that a larger budget, or the same command
after an interruption, continues it. Objectives are computed from the records of the runs.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from trainables.errors import NalError
from trainables.run.identity import digest_of
from trainables.run.seeds import derive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from optuna.distributions import BaseDistribution

    from orchestrator.planning.plan import Values
    from trainables.run.parameters import Space
    from trainables.run.spec import RunSpec

SIGNIFICANT_DIGITS = 4
"""Number of significant digits of a proposed value, few enough to be typed by hand."""


MULTIVARIATE = True
"""Whether TPE models the searched hyperparameters together: Optuna 5's default, not Optuna 4's."""
CONSTANT_LIAR = True
"""Whether TPE counts running trials as bad ones, so that workers do not try the same region."""
SAMPLER = {"name": "tpe", "multivariate": MULTIVARIATE, "constant_liar": CONSTANT_LIAR}
"""Settings of the sampler that enter the digest of a search."""

LABELS = "labels"
"""Attribute of an Optuna study: SHA-256 of the noisy labels that its trials saw."""


def open_searches(url: str) -> optuna.storages.RDBStorage:
    """Open the database of searches, or create it.

    Args:
        url: SQLAlchemy URL of the database.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: if the file is no database or cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return optuna.storages.RDBStorage(url)


def search_digest(
    base: RunSpec, space: Mapping[str, Space], protocol: Mapping[str, str | int]
) -> str:
    """Return the digest of base spec without searched values, space, protocol and sampler.

    The number of trials does not enter the digest.

    Args:
        base: spec of any trial.
        space: search space by name of a hyperparameter or of a value of the recipe.
        protocol: identity of the protocol, without any printed text.
    """
    plain = base.identity()
    for section in ("hyperparameters", "recipe"):
        plain[section] = {k: v for k, v in plain[section].items() if k not in space}
    bounds = {name: [s.low, s.high, s.log] for name, s in space.items()}
    return digest_of(
        {"base": plain, "space": bounds, "objective": dict(protocol), "sampler": SAMPLER}
    )


@dataclass(frozen=True, slots=True)
class Proposal:
    """Values that Optuna proposes for a trial.

    Attributes:
        number: Optuna's number of the trial.
        values: values of the searched hyperparameters.
    """

    number: int
    values: Values


@dataclass
class Search:
    """A search over the space of one method.

    Attributes:
        study: open Optuna study.
        space: search space by name of hyperparameter.
        trials: target number of complete trials.
        first_values: values of the first trial; None if the sampler chooses them.
    """

    study: optuna.Study
    space: Mapping[str, Space]
    trials: int
    first_values: Values | None = None
    _pending: dict[int, optuna.Trial] = field(default_factory=dict)
    _completed_count: int = 0
    _labels: str | None = None

    @classmethod
    def open(
        cls,
        storage: optuna.storages.BaseStorage,
        digest: str,
        space: Mapping[str, Space],
        trials: int,
        seed: int,
        first_values: Values | None,
    ) -> Search:
        """Open the search of a digest, or create it.

        Args:
            storage: storage of the Optuna study.
            digest: digest of the search, which is the name of the Optuna study.
            space: search space by name of hyperparameter.
            trials: target number of complete trials.
            seed: seed of the sampler; combined with the number of existing trials, since the
                sampler's random stream begins again at each start.
            first_values: values of the first trial; None to let the sampler choose.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.create_study(
                storage=storage, study_name=digest, direction="maximize", load_if_exists=True
            )
            study.sampler = optuna.samplers.TPESampler(
                seed=derive("search", seed, len(study.trials)) % 2**32,
                multivariate=MULTIVARIATE,
                constant_liar=CONSTANT_LIAR,
            )
        if first_values is not None and not study.trials:
            study.enqueue_trial(dict(first_values))
        return cls(study, space, trials, first_values)

    def resume(self, value_of: Callable[[Values], float | None]) -> None:
        """Close the trials that an interrupted sweep left running, and count the complete ones.

        A trial whose run has ended since becomes complete. The values of any other trial are
        proposed again.

        Args:
            value_of: function that returns the objective of the recorded run of given values, or
                None if that run has not ended.
        """
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            is_sampled = set(trial.params) == set(self.space)
            value = value_of(self.values_of(trial.params)) if is_sampled else None
            if value is not None:
                self.study.tell(trial.number, value)
                continue
            # Values of a queued trial that was started but interrupted before they were sampled.
            queued = trial.system_attrs.get("fixed_params", {})
            params = {**queued, **trial.params}
            if set(params) == set(self.space):
                self.study.enqueue_trial(params, skip_if_exists=False)
            self.study.tell(trial.number, state=TrialState.FAIL)
        self._completed_count = len(self.completed_trials())

    @property
    def remaining(self) -> int:
        """Number of further trials that may be proposed now."""
        return max(0, self.trials - self._completed_count - len(self._pending))

    @property
    def done(self) -> bool:
        """Whether the target number of trials is complete."""
        return self._completed_count >= self.trials

    def values_of(self, params: Mapping[str, float]) -> Values:
        """Return the values of a trial, rounded and clipped to the space.

        The values given for the first trial are returned unchanged.

        Args:
            params: Optuna's parameters of the trial.
        """
        values = round_values(params)
        if self.first_values is not None and values == round_values(self.first_values):
            return dict(self.first_values)
        return {n: min(max(v, self.space[n].low), self.space[n].high) for n, v in values.items()}

    def ask(self) -> Proposal:
        """Return the values of the next trial."""
        distributions: dict[str, BaseDistribution] = {
            name: optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)
            for name, space in self.space.items()
        }
        trial = self.study.ask(distributions)
        self._pending[trial.number] = trial
        return Proposal(trial.number, self.values_of(trial.params))

    def require_labels(self, sha256: str) -> None:
        """Check that a trial saw the same noisy labels as the other trials of the search.

        The first trial that ends determines the labels of the search.

        Args:
            sha256: SHA-256 of the labels that the trial saw.

        Raises:
            NalError: if the labels differ, so that objectives cannot be compared.
        """
        expected = self.study.user_attrs.get(LABELS) if self._labels is None else self._labels
        if expected is None:
            self.study.set_user_attr(LABELS, sha256)
        elif expected != sha256:
            raise NalError(
                f"search {self.study.study_name[:12]} was made on noisy labels {expected[:12]}, "
                f"and a trial has seen {sha256[:12]}: values on different labels are not compared; "
                "choose another folder with --home"
            )
        self._labels = sha256

    def tell(self, proposal: Proposal, value: float, digest: str) -> None:
        """Complete a trial.

        Args:
            proposal: proposal as `ask` returned it.
            value: objective of the trial's run.
            digest: digest of the trial's run.
        """
        trial = self._pending.pop(proposal.number)
        trial.set_user_attr("digest", digest)
        self.study.tell(trial, value)
        self._completed_count += 1

    def fail(self, proposal: Proposal) -> None:
        """Fail a trial whose run could not be carried out, and lower this sweep's target by one.

        Args:
            proposal: proposal as `ask` returned it.
        """
        self.study.tell(self._pending.pop(proposal.number), state=TrialState.FAIL)
        self.trials -= 1

    def completed_trials(self) -> list[tuple[Values, float]]:
        """Return values and objective of the complete trials, in the order of their proposal.

        If the search has more complete trials than its target, only the first ones are returned.
        """
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [
            (self.values_of(trial.params), float(trial.values[0]))
            for trial in trials[: self.trials]
        ]


def round_values(params: Mapping[str, Any]) -> Values:
    """Return values rounded to `SIGNIFICANT_DIGITS`, by name."""
    return {name: float(f"{value:.{SIGNIFICANT_DIGITS}g}") for name, value in params.items()}
