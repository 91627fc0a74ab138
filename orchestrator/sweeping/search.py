"""Repeatable hyperparameter search, whose trials Optuna stores in a persistent database.

Trial n is proposed from the results of trials up to n - lag, whichever ended first; those in
between count as pending. The proposals therefore depend neither on the order in which runs end, nor
on the number of runs at a time, nor on interruptions.

The Optuna study is named by the digest of the search. A command with more trials, or the same
command after an interruption, therefore continues the search.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna

from orchestrator.sweeping.samplers import (
    OPTUNA_STATES,
    Request,
    Sampler,
    optuna_trial,
    round_values,
)
from orchestrator.sweeping.trials import Trial, TrialState
from trainables.errors import NalError
from trainables.run.identity import digest_of, identity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optuna.trial import FrozenTrial

    from orchestrator.planning.plan import Values
    from orchestrator.sweeping.search_storage import Patience
    from trainables.run.parameters import AnySpace
    from trainables.run.spec import RunSpec

NUMBER_ATTRIBUTE = "number"
"""Name of the user attribute of an Optuna trial for its number in the search.

Optuna's own number differs once a failed trial has been tried again.
"""

DIGESTS_ATTRIBUTE = "digests"
"""Name of the user attribute of an Optuna trial for the digests of its runs."""

LABELS_ATTRIBUTE = "labels"
"""Begins the name of the user attribute of an Optuna study for the SHA-256 of the noisy labels of a
seed, which follows."""


@dataclass(frozen=True, slots=True)
class SearchRules:
    """What the proposals of a search depend on, besides the results of its trials.

    Attributes:
        spaces: search space by name of hyperparameter.
        sampler: rule that proposes values.
        seeds: seeds on which each trial is trained; the first one is also that of the sampler.
        lag: number of trials that may run at a time: trial n is proposed when the trials up to
            n - lag have ended.
        reference: values of the first trial; None if the sampler chooses them.
        history: complete trials of an earlier sweep that the sampler learns from.
        stopping: rule that stops trials early, as JSON values; empty for none.
    """

    spaces: Mapping[str, AnySpace]
    sampler: Sampler
    seeds: tuple[int, ...]
    lag: int
    reference: Values | None = None
    history: Sequence[Trial] = ()
    stopping: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """Return the values that enter the digest of a search, as JSON values."""
        history = [[dict(trial.values), trial.objective] for trial in self.history]
        return {
            "space": {name: identity_of(space) for name, space in self.spaces.items()},
            "sampler": dict(self.sampler.identity),
            "seeds": list(self.seeds),
            "lag": self.lag,
            "reference": self.reference,
            **({"history": history} if history else {}),
            **({"stopping": dict(self.stopping)} if self.stopping else {}),
        }


def search_digest(
    trial_spec: RunSpec, rules: SearchRules, protocol: Mapping[str, str | int]
) -> str:
    """Return the digest (SHA-256) that names a search.

    The digest covers the rules of the search, the epochs of the objective, and all settings of the
    trials except the searched values. It covers the values of hyperparameters that are searched
    under conditions where these are not met. It does not depend on the number of trials.

    Args:
        trial_spec: spec of any run of the search.
        rules: rules of the search.
        protocol: identity of the protocol (rule for the epochs whose accuracy is the objective).
    """
    identity = trial_spec.identity()
    always_searched = {name for name, space in rules.spaces.items() if space.when is None}
    for section in ("hyperparameters", "recipe"):
        identity[section] = {
            name: value for name, value in identity[section].items() if name not in always_searched
        }
    return digest_of({"base": identity, "objective": dict(protocol), **rules.identity()})


@dataclass
class Search:
    """A hyperparameter search for one method.

    Attributes:
        study: Optuna study with the trials of the search.
        rules: rules of the search.
        trial_count: number of trials of the search.
        patience: repetition of the operations while the database is locked or away.
        trials: trials of the search so far, by number.
    """

    study: optuna.Study
    rules: SearchRules
    trial_count: int
    patience: Patience
    trials: dict[int, Trial] = field(default_factory=dict)
    _next_number: int = 0
    _ended_count: int = 0
    _open_trials: dict[int, optuna.Trial] = field(default_factory=dict)
    _labels_sha256: dict[int, str] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        storage: optuna.storages.BaseStorage,
        digest: str,
        rules: SearchRules,
        trial_count: int,
        patience: Patience,
    ) -> Search:
        """Open the search that a digest names, or create this search.

        Args:
            storage: storage of the Optuna study.
            digest: digest of the search, which is the name of the Optuna study.
            rules: rules of the search.
            trial_count: number of trials of the search.
            patience: repetition of the operations while the database is locked or away.
        """
        study = patience.repeat(
            lambda: optuna.create_study(
                storage=storage,
                study_name=digest,
                sampler=optuna.samplers.RandomSampler(),  # never asked
                direction="maximize",
                load_if_exists=True,
            )
        )
        stored_trials = patience.repeat(lambda: study.get_trials(deepcopy=False))
        trials: dict[int, Trial] = {}
        for trial in filter(None, map(_read_trial, stored_trials)):
            # A failed trial may have been tried again. Of several others, the first counts.
            has_failed = trials.get(trial.number, trial).state is TrialState.FAILED
            if trial.number < trial_count and (trial.number not in trials or has_failed):
                trials[trial.number] = trial
        return cls(study, rules, trial_count, patience, trials)

    def next_trial(self, may_propose: Callable[[int], bool] = lambda _number: True) -> Trial | None:
        """Start the next trial and return it; None if no trial can start before others have ended.

        A trial that an earlier process has left open, or that failed there, is started again in the
        order of the numbers. It waits like a new one, since its result may depend on those of the
        trials before.

        Args:
            may_propose: function from the number of a new trial to whether it may be proposed; if
                not, the search ends with the trials before it.
        """
        while self._next_number < self.trial_count:
            number = self._next_number
            trial = self.trials.get(number)
            if trial is not None and trial.state in (TrialState.COMPLETE, TrialState.STOPPED):
                self._next_number += 1
                continue
            if number - self.rules.lag >= self._count_ended():
                return None
            if trial is None:
                if not may_propose(number):
                    self.trial_count = number
                    return None
                trial = Trial(number, self._propose(number))
            self._next_number += 1
            self.trials[number] = self._start(trial)
            return self.trials[number]
        return None

    def _count_ended(self) -> int:
        """Return the number of trials that have ended before the first one that has not."""
        while (
            self._ended_count < self._next_number and self.trials[self._ended_count].state.has_ended
        ):
            self._ended_count += 1
        return self._ended_count

    def _propose(self, number: int) -> Values:
        """Return the values of a trial, a pure function of the results that it may depend on."""
        rules = self.rules
        if number == 0 and rules.reference is not None:
            return dict(rules.reference)
        pending = range(max(0, number - rules.lag + 1), number)
        known_trials = [
            *self.trials_before(number),
            *(Trial(each, self.trials[each].values) for each in pending),
        ]
        request = Request(
            rules.spaces,
            rules.reference,
            seed=rules.seeds[0],
            number=number - (rules.reference is not None),
            trials=[*rules.history, *known_trials],
        )
        values = round_values(rules.sampler.propose(request), rules.spaces)
        if rules.reference and values == round_values(rules.reference, rules.spaces):
            return dict(rules.reference)
        return values

    def trials_before(self, number: int) -> list[Trial]:
        """Return the earlier trials on whose results a trial depends: those up to number - lag."""
        return [self.trials[each] for each in range(number - self.rules.lag + 1)]

    def _start(self, trial: Trial) -> Trial:
        """Write a trial to the database unless it is open there, and return the open trial.

        It may be open there since an earlier process has left it, or since the answer of the
        database to an earlier attempt was lost.
        """

        def write_once() -> optuna.Trial:
            opened = self._find_open(trial.number)
            if opened is None:
                new_trial = Trial(trial.number, trial.values)
                attributes = {NUMBER_ATTRIBUTE: trial.number}
                self.study.add_trial(optuna_trial(new_trial, self.rules.spaces, attributes))
                opened = self._find_open(trial.number)
            if opened is None:
                raise NalError(
                    f"trial {trial.number} of search {self.study.study_name[:12]} has vanished "
                    "from the database of searches: check that no other program changes it, then "
                    "type the same command again"
                )
            return opened

        opened = self._open_trials[trial.number] = self.patience.repeat(write_once)
        return Trial(trial.number, dict(opened.params))

    def _find_open(self, number: int) -> optuna.Trial | None:
        """Return the first open trial with a number in the database; None if there is none."""
        running = self.study.get_trials(deepcopy=False, states=(OPTUNA_STATES[TrialState.RUNNING],))
        return next(
            (
                optuna.Trial(self.study, frozen._trial_id)  # noqa: SLF001 - not public
                for frozen in running
                if frozen.user_attrs.get(NUMBER_ATTRIBUTE) == number
            ),
            None,
        )

    def end(self, trial: Trial, digests: Sequence[str] = ()) -> None:
        """Store what became of a trial.

        Args:
            trial: trial that `next_trial` returned, with its final state, objective and steps.
            digests: digests of the trial's runs.
        """
        opened = self._open_trials[trial.number]
        if digests:
            self.patience.repeat(lambda: opened.set_user_attr(DIGESTS_ATTRIBUTE, list(digests)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # steps that an earlier process has reported
            for step, value in trial.steps.items():
                self.patience.repeat(partial(opened.report, value, step))
        objective = trial.objective if trial.state is TrialState.COMPLETE else None
        self.patience.repeat(
            lambda: self.study.tell(
                opened, objective, OPTUNA_STATES[trial.state], skip_if_finished=True
            )
        )
        self.trials[trial.number] = trial
        del self._open_trials[trial.number]

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return self._count_ended() >= self.trial_count

    @property
    def measured_trials(self) -> list[Trial]:
        """Trials that have ended with an objective, in the order of their numbers."""
        trials = sorted(self.trials.values(), key=lambda trial: trial.number)
        return [
            trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.STOPPED)
        ]

    @property
    def completed_trials(self) -> list[Trial]:
        """Complete trials in the order of their numbers."""
        return [trial for trial in self.measured_trials if trial.state is TrialState.COMPLETE]

    def check_labels(self, seed: int, sha256: str) -> None:
        """Check that a run was trained on the same noisy labels as the earlier ones of its seed.

        The first run of a seed that ends determines the labels.

        Args:
            seed: seed of the run.
            sha256: SHA-256 of the labels that the run was trained on.

        Raises:
            NalError: if the labels differ, since the objectives are then not comparable.
        """
        name = f"{LABELS_ATTRIBUTE} {seed}"
        if seed not in self._labels_sha256:
            stored_sha256 = self.patience.repeat(lambda: self.study.user_attrs.get(name))
            if stored_sha256 is None:
                self.patience.repeat(lambda: self.study.set_user_attr(name, sha256))
            self._labels_sha256[seed] = stored_sha256 or sha256
        expected_sha256 = self._labels_sha256[seed]
        if expected_sha256 != sha256:
            raise NalError(
                f"the earlier trials of search {self.study.study_name[:12]} were trained on noisy "
                f"labels with SHA-256 {expected_sha256[:12]}, but a new trial on labels with "
                f"SHA-256 {sha256[:12]}, so their objectives are not comparable: choose another "
                "home folder with --home to start a new search"
            )


def _read_trial(stored: FrozenTrial) -> Trial | None:
    """Return a trial that is stored in Optuna; None if it has no number and is not of a search."""
    number = stored.user_attrs.get(NUMBER_ATTRIBUTE)
    if number is None:
        return None
    (state,) = (ours for ours, theirs in OPTUNA_STATES.items() if theirs is stored.state)
    return Trial(number, dict(stored.params), state, stored.value, stored.intermediate_values)
