"""Hyperparameter search with Optuna's ask-and-tell interface and a persistent database.

The Optuna study is named by the digest of the search. A command with more trials, or the same
command after an interruption, therefore continues the search. The objective of a trial is computed
from the record of the trial's run.
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
from trainables.run.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.planning.plan import Values
    from orchestrator.sweeping.search_storage import Patience
    from trainables.run.parameters import Space
    from trainables.run.spec import RunSpec

SIGNIFICANT_DIGITS = 4
"""Number of significant digits of proposed values, so that users can type the values."""

MULTIVARIATE = True
"""Whether TPE models the searched hyperparameters jointly, as is the default in Optuna 5."""
CONSTANT_LIAR = True
"""Whether TPE treats running trials as bad, so that concurrent trials try different values."""
SAMPLER_SETTINGS = {"name": "tpe", "multivariate": MULTIVARIATE, "constant_liar": CONSTANT_LIAR}
"""Settings of Optuna's sampler, which enter the digest of a search."""

DIGEST_ATTRIBUTE = "digest"
"""Name of the user attribute of an Optuna trial for the digest of its run."""

LABELS_ATTRIBUTE = "labels"
"""Name of the user attribute of an Optuna study for the SHA-256 of the trials' noisy labels."""


def search_digest(
    trial_spec: RunSpec, space: Mapping[str, Space], protocol: Mapping[str, str | int]
) -> str:
    """Return the digest (SHA-256) that names a search.

    The digest covers the search space, the settings of the sampler, the epochs of the objective,
    and all settings of the trials except the searched values. It does not depend on the number of
    trials.

    Args:
        trial_spec: spec of any trial of the search.
        space: search space by name of a hyperparameter or of a value of the recipe.
        protocol: identity of the protocol (rule for the epochs whose accuracy is the objective).
    """
    identity = trial_spec.identity()
    for section in ("hyperparameters", "recipe"):
        identity[section] = {
            name: value for name, value in identity[section].items() if name not in space
        }
    bounds = {name: [interval.low, interval.high, interval.log] for name, interval in space.items()}
    return digest_of(
        {
            "base": identity,
            "space": bounds,
            "objective": dict(protocol),
            "sampler": SAMPLER_SETTINGS,
        }
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
        n_trials: target number of complete trials.
        first_values: hyperparameter values of the first trial; None if the sampler chooses them.
        patience: repetition of the operations while the database is locked or away.
    """

    study: optuna.Study
    space: Mapping[str, Space]
    n_trials: int
    first_values: Values | None
    patience: Patience
    _open_trials: dict[int, optuna.Trial] = field(default_factory=dict)
    _completed_count: int = 0
    _labels_sha256: str | None = None

    @classmethod
    def open(
        cls,
        storage: optuna.storages.BaseStorage,
        digest: str,
        space: Mapping[str, Space],
        n_trials: int,
        seed: int,
        first_values: Values | None,
        patience: Patience,
    ) -> Search:
        """Open the search that a digest names, or create this search.

        Args:
            storage: storage of the Optuna study.
            digest: digest of the search, which is the name of the Optuna study.
            space: search space by name of hyperparameter.
            n_trials: target number of complete trials.
            seed: seed of the sampler. The seed is combined with the number of existing trials, so
                that the sampler does not repeat its random numbers after a restart.
            first_values: hyperparameter values of the first trial; None if the sampler chooses
                them.
            patience: repetition of the operations while the database is locked or away.
        """

        def open_study() -> optuna.Study:
            study = optuna.create_study(
                storage=storage, study_name=digest, direction="maximize", load_if_exists=True
            )
            trials = study.get_trials(deepcopy=False)
            study.sampler = optuna.samplers.TPESampler(
                seed=derive_seed("search", seed, len(trials)) % 2**32,
                multivariate=MULTIVARIATE,
                constant_liar=CONSTANT_LIAR,
            )
            if first_values is not None and not trials:
                study.enqueue_trial(dict(first_values))
            return study

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = patience.repeat(open_study)
        return cls(study, space, n_trials, first_values, patience)

    def resume(self, objective_of: Callable[[Values], float | None]) -> None:
        """Complete the trials whose runs have ended meanwhile, and count the complete trials.

        The trials that an interrupted sweep left open otherwise are the next ones of `ask`.

        Args:
            objective_of: function from the hyperparameter values of a trial to the objective, or to
                None if the run of the trial has not ended.
        """

        def complete_ended_trials() -> None:
            for trial in self._running_trials():
                is_sampled = set(trial.params) == set(self.space)
                objective = objective_of(self.values_of(trial.params)) if is_sampled else None
                if objective is not None:
                    self.study.tell(trial.number, objective)

        self.patience.repeat(complete_ended_trials)
        self._completed_count = len(self.completed_trials())

    def _running_trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    @property
    def trial_count(self) -> int:
        """Number of complete and open trials."""
        return self._completed_count + len(self._open_trials)

    @property
    def remaining_trial_count(self) -> int:
        """Number of further trials to propose, besides the open ones, to reach `n_trials`."""
        return max(0, self.n_trials - self.trial_count)

    @property
    def done(self) -> bool:
        """Whether the target number of trials is complete."""
        return self._completed_count >= self.n_trials

    def values_of(self, params: Mapping[str, float]) -> Values:
        """Return the hyperparameter values of a trial, rounded and clipped to the search space.

        Values that equal `first_values` after rounding are replaced by the unrounded
        `first_values`.

        Args:
            params: values of the trial as Optuna stores them.
        """
        values = round_values(params)
        if self.first_values is not None and values == round_values(self.first_values):
            return dict(self.first_values)
        return {
            name: min(max(value, self.space[name].low), self.space[name].high)
            for name, value in values.items()
        }

    def ask(self) -> Proposal:
        """Start a trial and return the hyperparameter values that Optuna proposes.

        A trial that is running in the database, but not in this process, comes first: it was left
        by an interrupted sweep, or the answer of the database to an earlier call was lost.
        """

        def start_trial() -> optuna.Trial:
            left_over = next(
                (
                    trial
                    for trial in self._running_trials()
                    if trial.number not in self._open_trials
                ),
                None,
            )
            trial = (
                self.study.ask()
                if left_over is None
                else optuna.Trial(self.study, left_over._trial_id)  # noqa: SLF001 - not public
            )
            for name, space in self.space.items():
                trial.suggest_float(name, space.low, space.high, log=space.log)
            return trial

        trial = self.patience.repeat(start_trial)
        self._open_trials[trial.number] = trial
        return Proposal(trial.number, self.values_of(trial.params))

    def check_labels(self, sha256: str) -> None:
        """Check that a trial was trained on the same noisy labels as the earlier trials.

        The first trial that ends determines the labels of the search.

        Args:
            sha256: SHA-256 of the labels that the trial was trained on.

        Raises:
            NalError: if the labels differ, since the objectives are then not comparable.
        """
        if self._labels_sha256 is None:
            self._labels_sha256 = self.patience.repeat(
                lambda: self.study.user_attrs.get(LABELS_ATTRIBUTE)
            )
        expected_sha256 = self._labels_sha256
        if expected_sha256 is None:
            self.patience.repeat(lambda: self.study.set_user_attr(LABELS_ATTRIBUTE, sha256))
        elif expected_sha256 != sha256:
            raise NalError(
                f"the earlier trials of search {self.study.study_name[:12]} were trained on noisy "
                f"labels with SHA-256 {expected_sha256[:12]}, but a new trial on labels with "
                f"SHA-256 {sha256[:12]}, so their objectives are not comparable: choose another "
                "home folder with --home to start a new search"
            )
        self._labels_sha256 = sha256

    def tell(self, proposal: Proposal, objective: float, digest: str) -> None:
        """Mark a trial as complete, with its objective.

        Args:
            proposal: proposal of the trial, as `ask` returned it.
            objective: objective of the trial, computed from the result of its run.
            digest: digest of the trial's run.
        """
        trial = self._open_trials[proposal.number]
        self.patience.repeat(lambda: trial.set_user_attr(DIGEST_ATTRIBUTE, digest))
        self.patience.repeat(lambda: self.study.tell(trial, objective, skip_if_finished=True))
        del self._open_trials[proposal.number]
        self._completed_count += 1

    def fail(self, proposal: Proposal) -> None:
        """Mark a trial as failed, since its run could not be carried out.

        No other trial replaces it: the target number of trials is reduced by one.

        Args:
            proposal: proposal of the trial, as `ask` returned it.
        """
        trial = self._open_trials[proposal.number]
        self.patience.repeat(
            lambda: self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        )
        del self._open_trials[proposal.number]
        self.n_trials -= 1

    def completed_trials(self) -> list[tuple[Values, float]]:
        """Return the hyperparameter values and the objective of each complete trial.

        The trials are in the order of their proposal. If more than `n_trials` are complete, only
        the first `n_trials` are returned.
        """
        trials = self.patience.repeat(
            lambda: self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        )
        return [
            (self.values_of(trial.params), float(trial.values[0]))
            for trial in trials[: self.n_trials]
        ]


def round_values(params: Mapping[str, Any]) -> Values:
    """Return hyperparameter values rounded to `SIGNIFICANT_DIGITS`, by name."""
    return {name: float(f"{value:.{SIGNIFICANT_DIGITS}g}") for name, value in params.items()}
