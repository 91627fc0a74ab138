"""One search: Optuna proposes values, through ask and tell, over a database that outlives us.

The Optuna study bears the search's own digest, so that raising the budget, or typing the command
again after a kill, goes on with it. What a trial's run gave is read from the run's record.
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
"""Of a proposed value: enough for any search, few enough to be typed again by hand."""


LABELS = "labels"
"""Attribute of an Optuna study: SHA-256 of the noisy labels that its trials saw."""


def open_searches(url: str) -> optuna.storages.RDBStorage:
    """Open the searches' database, or create it.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it is no database, or cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return optuna.storages.RDBStorage(url)


def search_digest(
    base: RunSpec, space: Mapping[str, Space], protocol: Mapping[str, str | int]
) -> str:
    """Name a search: its base spec without the searched values, its space and its protocol.

    The number of trials is no part of it.

    Args:
        base: any trial's spec.
        space: where is searched; names of hyperparameters and of values of the recipe.
        protocol: which number chooses, as keys: never as a sentence that may be reworded.
    """
    plain = base.identity()
    for section in ("hyperparameters", "recipe"):
        plain[section] = {k: v for k, v in plain[section].items() if k not in space}
    bounds = {name: [s.low, s.high, s.log] for name, s in space.items()}
    return digest_of({"base": plain, "space": bounds, "objective": dict(protocol)})


@dataclass(frozen=True, slots=True)
class Proposal:
    """Values that a trial is to try."""

    number: int
    values: Values


@dataclass
class Search:
    """A search over one method's space.

    Attributes:
        study: Optuna's, open.
        space: where to look.
        trials: how many are wanted in all.
        first: values of the first trial; None if the sampler chose them.
    """

    study: optuna.Study
    space: Mapping[str, Space]
    trials: int
    first: Values | None = None
    _asked: dict[int, optuna.Trial] = field(default_factory=dict)
    _told: int = 0
    _labels: str | None = None

    @classmethod
    def open(
        cls,
        storage: optuna.storages.BaseStorage,
        digest: str,
        space: Mapping[str, Space],
        trials: int,
        seed: int,
        first: Values | None,
    ) -> Search:
        """Create the Optuna study of that digest, or go on with it.

        Args:
            storage: where it lives.
            digest: its name.
            space: where to look.
            trials: how many are wanted in all.
            seed: of the sampler; its stream starts anew at each start, so the number of trials so
                far is mixed in.
            first: values of the first trial; None to let the sampler choose.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.create_study(
                storage=storage, study_name=digest, direction="maximize", load_if_exists=True
            )
            study.sampler = optuna.samplers.TPESampler(
                seed=derive("search", seed, len(study.trials)) % 2**32, constant_liar=True
            )
        if first is not None and not study.trials:
            study.enqueue_trial(dict(first))
        return cls(study, space, trials, first)

    def resume(self, value_of: Callable[[Values], float | None]) -> None:
        """Settle the trials that a dead sweep left running, and count those that are complete.

        A trial whose run has ended since is told its value; of any other the values are proposed
        again.

        Args:
            value_of: objective of the recorded run of such values; None if it has not ended.
        """
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            drawn = set(trial.params) == set(self.space)
            value = value_of(self.values_of(trial.params)) if drawn else None
            if value is not None:
                self.study.tell(trial.number, value)
                continue
            # Queued values that a trial took up but died before it had drawn them.
            queued = trial.system_attrs.get("fixed_params", {})
            params = {**queued, **trial.params}
            if set(params) == set(self.space):
                self.study.enqueue_trial(params, skip_if_exists=False)
            self.study.tell(trial.number, state=TrialState.FAIL)
        self._told = len(self.completed())

    @property
    def wanted(self) -> int:
        """How many more trials may be asked for now."""
        return max(0, self.trials - self._told - len(self._asked))

    @property
    def done(self) -> bool:
        """Whether as many trials as wanted have been told."""
        return self._told >= self.trials

    def values_of(self, params: Mapping[str, float]) -> Values:
        """Return what a trial tries: rounded values within the space; the first ones unchanged."""
        values = rounded(params)
        if self.first is not None and values == rounded(self.first):
            return dict(self.first)
        return {n: min(max(v, self.space[n].low), self.space[n].high) for n, v in values.items()}

    def ask(self) -> Proposal:
        """Propose the next values."""
        distributions: dict[str, BaseDistribution] = {
            name: optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)
            for name, space in self.space.items()
        }
        trial = self.study.ask(distributions)
        self._asked[trial.number] = trial
        return Proposal(trial.number, self.values_of(trial.params))

    def require_labels(self, sha256: str) -> None:
        """See that a trial saw the noisy labels that the search was made on.

        The first trial that ends says which these are.

        Raises:
            NalError: it saw others, so that its value cannot be compared with the others'.
        """
        first = self.study.user_attrs.get(LABELS) if self._labels is None else self._labels
        if first is None:
            self.study.set_user_attr(LABELS, sha256)
        elif first != sha256:
            raise NalError(
                f"search {self.study.study_name[:12]} was made on noisy labels {first[:12]}, and a "
                f"trial has seen {sha256[:12]}: values on different labels are not compared; "
                "choose another folder with --home"
            )
        self._labels = sha256

    def tell(self, proposal: Proposal, value: float, digest: str) -> None:
        """Note what a proposal's run gave."""
        trial = self._asked.pop(proposal.number)
        trial.set_user_attr("digest", digest)
        self.study.tell(trial, value)
        self._told += 1

    def give_up(self, proposal: Proposal) -> None:
        """Note that a proposal's run could not be carried out; it counts as tried in this sweep."""
        self.study.tell(self._asked.pop(proposal.number), state=TrialState.FAIL)
        self.trials -= 1

    def completed(self) -> list[tuple[Values, float]]:
        """Return values and objective of the complete trials, in the order they were proposed.

        A search that had more trials once and wants fewer now goes by its first ones.
        """
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [
            (self.values_of(trial.params), float(trial.values[0]))
            for trial in trials[: self.trials]
        ]


def rounded(params: Mapping[str, Any]) -> Values:
    """Round proposed values to `SIGNIFICANT_DIGITS`."""
    return {name: float(f"{value:.{SIGNIFICANT_DIGITS}g}") for name, value in params.items()}
