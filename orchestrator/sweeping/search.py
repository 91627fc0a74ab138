"""Hyperparameter search with Optuna's ask-and-tell interface and a persistent database.

The Optuna study is named by the digest of the search. A command with more trials, or the same
command after an interruption, therefore continues the search. Objectives are computed from the
records of the runs.
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
"""Number of significant digits of proposed values, few enough to type values by hand."""


MULTIVARIATE = True
"""Whether TPE models the searched hyperparameters jointly, as is the default in Optuna 5."""
CONSTANT_LIAR = True
"""Whether TPE treats running trials as bad, so that parallel trials try different values."""
SAMPLER = {"name": "tpe", "multivariate": MULTIVARIATE, "constant_liar": CONSTANT_LIAR}
"""Settings of Optuna's sampler, which are a part of the digest of a search."""

LABELS_ATTRIBUTE = "labels"
"""Name of the attribute of an Optuna study with the SHA-256 of its trials' noisy labels."""


def open_searches(url: str) -> optuna.storages.RDBStorage:
    """Open the database that Optuna stores searches in, or create it.

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
    """Return the digest that names a search.

    It covers the settings of the trials except the searched values, the search space, the protocol
    and the sampler. It does not depend on the number of trials.

    Args:
        base: spec of any trial.
        space: search space by name of a hyperparameter or of a value of the recipe.
        protocol: identity of the protocol, the rule that names the epochs of the objective.
    """
    base_identity = base.identity()
    for section in ("hyperparameters", "recipe"):
        base_identity[section] = {k: v for k, v in base_identity[section].items() if k not in space}
    bounds = {name: [s.low, s.high, s.log] for name, s in space.items()}
    return digest_of(
        {"base": base_identity, "space": bounds, "objective": dict(protocol), "sampler": SAMPLER}
    )


@dataclass(frozen=True, slots=True)
class Proposal:
    """Hyperparameter values that Optuna proposes for a trial.

    Attributes:
        number: number of the trial in Optuna.
        values: values of the searched hyperparameters.
    """

    number: int
    values: Values


@dataclass
class Search:
    """A hyperparameter search for one method.

    Attributes:
        study: Optuna study with the trials of the search.
        space: search space by name of hyperparameter.
        trials: target number of complete trials.
        first_values: hyperparameter values of the first trial; None if the sampler chooses them.
    """

    study: optuna.Study
    space: Mapping[str, Space]
    trials: int
    first_values: Values | None = None
    _open_trials: dict[int, optuna.Trial] = field(default_factory=dict)
    _completed_count: int = 0
    _labels_sha256: str | None = None

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
        """Open the search with a digest, or create it.

        Args:
            storage: storage of the Optuna study.
            digest: digest of the search, which is the name of the Optuna study.
            space: search space by name of hyperparameter.
            trials: target number of complete trials.
            seed: seed of the sampler. It is combined with the number of existing trials, since the
                sampler would otherwise repeat its random numbers at each start.
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
        """Close the trials that an interrupted sweep left open, and count the complete trials.

        An open trial becomes complete if its run has ended. The values of the other open trials
        are proposed again.

        Args:
            value_of: function that returns the objective of the trial with the given values; None
                if its run has not ended.
        """
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            is_sampled = set(trial.params) == set(self.space)
            value = value_of(self.values_of(trial.params)) if is_sampled else None
            if value is not None:
                self.study.tell(trial.number, value)
                continue
            # Values of a queued trial that was started but interrupted before they were sampled.
            queued_params = trial.system_attrs.get("fixed_params", {})
            params = {**queued_params, **trial.params}
            if set(params) == set(self.space):
                self.study.enqueue_trial(params, skip_if_exists=False)
            self.study.tell(trial.number, state=TrialState.FAIL)
        self._completed_count = len(self.completed_trials())

    @property
    def remaining(self) -> int:
        """Number of further trials that may be proposed now to reach the target number."""
        return max(0, self.trials - self._completed_count - len(self._open_trials))

    @property
    def done(self) -> bool:
        """Whether the target number of trials is complete."""
        return self._completed_count >= self.trials

    def values_of(self, params: Mapping[str, float]) -> Values:
        """Return the hyperparameter values of a trial, rounded and clipped to the search space.

        Values that round to `first_values` are replaced by `first_values`, which stay unrounded.

        Args:
            params: values of the trial as Optuna stores them.
        """
        values = round_values(params)
        if self.first_values is not None and values == round_values(self.first_values):
            return dict(self.first_values)
        return {n: min(max(v, self.space[n].low), self.space[n].high) for n, v in values.items()}

    def ask(self) -> Proposal:
        """Return the hyperparameter values that Optuna proposes for the next trial."""
        distributions: dict[str, BaseDistribution] = {
            name: optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)
            for name, space in self.space.items()
        }
        trial = self.study.ask(distributions)
        self._open_trials[trial.number] = trial
        return Proposal(trial.number, self.values_of(trial.params))

    def require_labels(self, sha256: str) -> None:
        """Check that a trial was trained on the same noisy labels as the other trials.

        The first trial that ends determines the labels of the search.

        Args:
            sha256: SHA-256 of the labels that the trial was trained on.

        Raises:
            NalError: if the labels differ, since the objectives cannot be compared then.
        """
        expected_sha256 = (
            self.study.user_attrs.get(LABELS_ATTRIBUTE)
            if self._labels_sha256 is None
            else self._labels_sha256
        )
        if expected_sha256 is None:
            self.study.set_user_attr(LABELS_ATTRIBUTE, sha256)
        elif expected_sha256 != sha256:
            raise NalError(
                f"search {self.study.study_name[:12]} was made on noisy labels "
                f"{expected_sha256[:12]}, and a trial has seen {sha256[:12]}: values on "
                f"different labels are not compared; "
                "choose another folder with --home"
            )
        self._labels_sha256 = sha256

    def tell(self, proposal: Proposal, value: float, digest: str) -> None:
        """Mark a trial as complete, with its objective.

        Args:
            proposal: proposal of the trial, as `ask` returned it.
            value: objective of the trial's run.
            digest: digest of the trial's run.
        """
        trial = self._open_trials.pop(proposal.number)
        trial.set_user_attr("digest", digest)
        self.study.tell(trial, value)
        self._completed_count += 1

    def fail(self, proposal: Proposal) -> None:
        """Mark a trial as failed, since its run could not be carried out.

        It is not replaced: the target number of trials is reduced by one.

        Args:
            proposal: proposal of the trial, as `ask` returned it.
        """
        self.study.tell(self._open_trials.pop(proposal.number), state=TrialState.FAIL)
        self.trials -= 1

    def completed_trials(self) -> list[tuple[Values, float]]:
        """Return the values and the objective of each complete trial, in the order of proposal.

        If more trials are complete than the target number, only the first ones are returned.
        """
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [
            (self.values_of(trial.params), float(trial.values[0]))
            for trial in trials[: self.trials]
        ]


def round_values(params: Mapping[str, Any]) -> Values:
    """Return hyperparameter values rounded to `SIGNIFICANT_DIGITS`, by name."""
    return {name: float(f"{value:.{SIGNIFICANT_DIGITS}g}") for name, value in params.items()}
