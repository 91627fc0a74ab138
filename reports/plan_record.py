"""Plan and progress of a sweep, as stored in the MLflow artifact `plan.json`.

The sweep writes this file, and reports read it. Runs are named by their digests, not by their
MLflow run IDs, since a run may belong to two sweeps.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from reports.words import format_count, printable
from trainables.errors import RecordError
from trainables.run.identity import identity_of
from trainables.run.parameters import AnySpace, space_from_json
from trainables.run.protocols import HeldOutMean, Protocol, protocol_from_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAN_FILE = "plan.json"
"""Name of the MLflow artifact that holds the plan."""

PAGE_FILE = "report.html"
"""Name of the page in the folder of a sweep, and among the files that MLflow keeps with it."""

HyperparameterValues = dict[str, bool | int | float | str]
"""Values of tunable hyperparameters, by the name of the hyperparameter."""

SettingValue = bool | int | float | str | None
"""Value of a hyperparameter that a study fixes."""


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The dataset on which the runs of a sweep are trained.

    Attributes:
        name: name of the dataset in studies.
        title: title of the dataset in tables.
        digest: SHA-256 of the dataset's content.
        classes: number of classes K.
        train_size: number of samples in the training split.
        test_size: number of samples in the test split.
    """

    name: str
    title: str
    digest: str
    classes: int
    train_size: int
    test_size: int


@dataclass(frozen=True, slots=True)
class ReferenceRecord:
    """The reference of a search: published values of the searched hyperparameters.

    Attributes:
        values: published values, by hyperparameter.
        source: publication that states the values.
    """

    values: HyperparameterValues
    source: str


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A candidate: hyperparameter values that the select phase tries on new seeds.

    Attributes:
        values: values of the searched hyperparameters.
        origin: "search" if a trial proposed the values, "reference" if they are the published ones.
        digests: digests of the candidate's runs.
    """

    values: HyperparameterValues
    origin: Literal["search", "reference"]
    digests: list[str]


@dataclass(frozen=True, slots=True)
class StoppedTrialRecord:
    """A trial that was stopped early.

    Attributes:
        position: position among the trials of the search that have ended, from 0.
        run_count: number of its runs; the other seeds were left out.
        epoch: epoch after which its only run was stopped; None if none was.
    """

    position: int
    run_count: int
    epoch: int | None = None

    @property
    def text(self) -> str:
        """When the trial was stopped, such as "after epoch 20"."""
        if self.epoch is None:
            return f"after {format_count(self.run_count, 'seed')}"
        return f"after epoch {self.epoch}"


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """The tuning of a method: search for hyperparameters, then selection among the candidates.

    Attributes:
        method: name of the method in studies.
        method_title: title of the method in tables.
        scenario: name of the label-noise scenario on which the trials are trained.
        serves: names of the scenarios that use the chosen values.
        space: search space of each searched hyperparameter, by name.
        trials: number of trials that the study requests.
        digests: digests of the runs of the trials that have ended, in order; those of a trial
            follow each other.
        reference: published values to compare with; None if nothing is published.
        candidates: candidates that the select phase compares.
        chosen: hyperparameter values of the winner; None until the select phase is done.
        chosen_digests: digests of the runs of the trial with these values; [] if there is none, and
            in plans of versions that did not store them.
        seeds: number of seeds on which each trial is trained.
        sampler: title of the rule that proposed the trials; "" in plans of versions that did not
            store it.
        remedies: texts that name settings worth trying if the method loses to cross entropy, and
            that the study does not have already.
        scheduler: description of the rule that stops trials early; "" if every trial is whole.
        stopped: trials that were stopped early.
        budget_trials: number of trials with which the time budget has ended the search; None if it
            has not.
        budget_seeds: number of seeds with which the time budget has ended the comparison of the
            candidates; None if it has not.
    """

    method: str
    method_title: str
    scenario: str
    serves: list[str]
    space: Mapping[str, AnySpace]
    trials: int
    digests: list[str]
    reference: ReferenceRecord | None = None
    candidates: list[CandidateRecord] = field(default_factory=list)
    chosen: HyperparameterValues | None = None
    remedies: list[str] = field(default_factory=list)
    chosen_digests: list[str] = field(default_factory=list)
    seeds: int = 1
    budget_trials: int | None = None
    budget_seeds: int | None = None
    sampler: str = ""
    scheduler: str = ""
    stopped: list[StoppedTrialRecord] = field(default_factory=list)

    @property
    def lacks_trials(self) -> bool:
        """Whether the time budget has ended the search before its last trial.

        The number of trials may have been lowered since.
        """
        return self.budget_trials is not None and self.budget_trials < self.trials

    @property
    def stopped_by_position(self) -> dict[int, StoppedTrialRecord]:
        """Trials that were stopped early, by their position in `runs_by_trial`."""
        return {trial.position: trial for trial in self.stopped}

    @property
    def runs_by_trial(self) -> list[list[str]]:
        """Digests of the runs of each trial that has ended, in order."""
        stopped, start = self.stopped_by_position, 0
        trials: list[list[str]] = []
        while start < len(self.digests):
            trial = stopped.get(len(trials))
            end = start + (self.seeds if trial is None else trial.run_count)
            trials.append(self.digests[start:end])
            start = end
        return trials

    @property
    def runs_by_whole_trial(self) -> list[list[str]]:
        """Digests of the runs of each trial that was not stopped early, in order."""
        stopped = self.stopped_by_position
        return [runs for n, runs in enumerate(self.runs_by_trial) if n not in stopped]


@dataclass(frozen=True, slots=True)
class HistoryTrial:
    """A complete trial of an earlier sweep.

    Attributes:
        method: name of the method.
        scenario: name of the scenario on which the trial was trained.
        values: values of the searched hyperparameters.
        objective: held-out accuracy of the trial in its own sweep, a fraction.
    """

    method: str
    scenario: str
    values: HyperparameterValues
    objective: float


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """Trials of an earlier sweep from which the searches of a sweep have learnt.

    Attributes:
        sweep: digest of the earlier sweep.
        study: name of its study.
        name: name by which the user has named it.
        base: digest of the sweep that would be the same without these trials.
        trials: the trials.
    """

    sweep: str
    study: str
    name: str
    base: str
    trials: list[HistoryTrial]

    def trials_for(self, method: str, scenario: str) -> list[HistoryTrial]:
        """Return the trials for a search: those on its scenario, or all if there are none."""
        trials = [trial for trial in self.trials if trial.method == method]
        return [trial for trial in trials if trial.scenario == scenario] or trials


@dataclass(frozen=True, slots=True)
class CrossedRecord:
    """Runs of a cell that have all combinations of the seeds of some random axes.

    Attributes:
        axes: names of the random axes, such as "noise".
        seeds: seeds of each axis.
        digests: digests of the runs; the seeds of the last axis vary fastest.
    """

    axes: list[str]
    seeds: list[int]
    digests: list[str]


@dataclass(frozen=True, slots=True)
class CellRecord:
    """A planned table entry (cell): the runs of one method, scenario and values, on all seeds.

    Attributes:
        method: name of the method in studies.
        method_title: title of the method in tables.
        scenario: name of the scenario in studies.
        scenario_title: title of the scenario in tables.
        values: values of the tunable hyperparameters; empty if the method has none.
        origin: origin of the values: "tuned", "reference", "fixed", "varied", or "tuned, equals
            reference".
        trials: number of trials of the search that chose the values; 0 if they were not tuned.
        source: publication or rule that the values come from, such as "paper, section 5".
        seeds: planned seeds, in order.
        digests: digests of the runs, in the order of `seeds`.
        recipe: description of the runs' own recipe; "" for the study's recipe ("matched").
        reading: name of the metric that the runs' own recipe reports in the first column of the
            table; "" for the metric of that column.
        one_draw: whether the runs of all seeds are trained on the same noisy labels.
        crossed: additional runs with crossed random axes; None for none.
        epochs: number of epochs of the runs; 0 in plans of versions that did not store it, as are
            the empty values of the attributes below.
        noise_rule: classes from which the label noise draws, such as "only other classes".
        precision: number format of the runs' forward pass, such as "float32".
        train_count: number of samples that the runs are trained on, without the held-out ones.
        settings: values of the method's other hyperparameters, which the study fixes.
        setting_sources: publication or rule that each of `settings` comes from.
        command: shell command that trains a run again, without its seed; "" if it is not recorded.
    """

    method: str
    method_title: str
    scenario: str
    scenario_title: str
    values: HyperparameterValues
    origin: str
    trials: int
    source: str
    seeds: list[int]
    digests: list[str]
    recipe: str = ""
    reading: str = ""
    one_draw: bool = False
    crossed: CrossedRecord | None = None
    epochs: int = 0
    noise_rule: str = ""
    precision: str = ""
    train_count: int = 0
    settings: dict[str, SettingValue] = field(default_factory=dict)
    setting_sources: dict[str, str] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.digests):
            raise ValueError(
                f"cell {self.method} on {self.scenario}: {len(self.seeds)} seeds, but "
                f"{len(self.digests)} digests; each seed needs one"
            )

    @property
    def is_tuned(self) -> bool:
        """Whether a search chose the hyperparameter values of the cell."""
        return self.origin.startswith("tuned")

    @property
    def has_reference_values(self) -> bool:
        """Whether the hyperparameter values of the cell equal the published ones."""
        return self.origin.endswith("reference")


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """The content of `plan.json`: plan and progress of a sweep.

    Attributes:
        sweep: digest of the sweep.
        study: name of the study.
        title: title of the study.
        dataset: dataset of the study.
        backbone: title of the backbone.
        subset: number of training samples used; None for all.
        epochs: number of epochs of each run.
        window: number of epochs at the end of each run that are always evaluated; `recipe.window`
            of the study.
        scope: "study" if one search serves all scenarios, "scenario" if each has its own.
        protocol: description of the accuracy by which hyperparameters are chosen.
        standard_error: binomial standard error of one run's held-out accuracy, a fraction.
        headline: title of the test accuracy that tables show first.
        deviations: sentences that say where the study departs from the paper.
        searches: hyperparameter search of each tuned method.
        cells: cells of the confirm phase whose hyperparameter values are determined so far.
        state: "finished" if all runs of the sweep have ended, else "running".
        fixed_seeds: seed of each source of randomness, such as "noise", that is held fixed while
            the seeds of the others vary.
        scenario_epochs: number of epochs on each scenario where it differs from `epochs`.
        further: titles of additional test accuracies of this dataset, by the name of the metric.
        code: SHA-256 of the source of each extension, by the extension's name.
        protocols: identity of the protocol (which epochs' accuracies are averaged to choose
            hyperparameters), by scenario; empty in older plans, whose protocol is the mean over
            the last `window` epochs.
        test_subset: number of test samples on which accuracies are measured; None for all.
        trainings: digest of network and matched recipe by scenario; empty in plans of versions that
            did not store it.
        study_epochs: number of epochs of the study itself, which a flag may replace; 0 in older
            plans.
        has_other_scenarios: whether a flag has replaced the scenarios of the study, of which the
            title may speak.
        budget_hours: time budget of the sweep in hours; None for no limit.
        is_budget_spent: whether the latest start has ended because the time budget was spent.
        history: trials of an earlier sweep from which the searches have learnt; None for none.
    """

    sweep: str
    study: str
    title: str
    dataset: DatasetRecord
    backbone: str
    subset: int | None
    epochs: int
    window: int
    scope: Literal["study", "scenario"]
    protocol: str
    standard_error: float
    headline: str
    deviations: list[str]
    searches: list[TuningRecord]
    cells: list[CellRecord]
    state: Literal["running", "finished"]
    fixed_seeds: dict[str, int] = field(default_factory=dict)
    scenario_epochs: dict[str, int] = field(default_factory=dict)
    further: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    protocols: dict[str, dict[str, str | int]] = field(default_factory=dict)
    test_subset: int | None = None
    trainings: dict[str, str] = field(default_factory=dict)
    study_epochs: int = 0
    has_other_scenarios: bool = False
    budget_hours: float | None = None
    is_budget_spent: bool = False
    history: HistoryRecord | None = None

    def __post_init__(self) -> None:
        for identity in self.protocols.values():
            protocol_from_identity(identity)

    @property
    def averaged_epochs(self) -> str:
        """Text for the epochs over which accuracies are averaged, such as "last 10 epochs"."""
        return " or ".join(dict.fromkeys(each.epochs_text for each in self._protocols))

    @property
    def averages_one_epoch(self) -> bool:
        """Whether accuracies are averaged over a single epoch on every scenario."""
        return all(protocol.epoch_count == 1 for protocol in self._protocols)

    @property
    def _protocols(self) -> list[Protocol]:
        """Protocol of each scenario; in older plans one for all."""
        protocols = [protocol_from_identity(identity) for identity in self.protocols.values()]
        return protocols or [HeldOutMean(self.window)]

    @property
    def is_limited_by_budget(self) -> bool:
        """Whether the time budget has left out trials, seeds or runs."""
        return self.is_budget_spent or any(
            search.lacks_trials or search.budget_seeds is not None for search in self.searches
        )

    def epochs_of(self, cell: CellRecord) -> int:
        """Return the number of epochs of a cell's runs, as far as the plan states it."""
        return cell.epochs or self.scenario_epochs.get(cell.scenario, self.epochs)

    @property
    def digests_by_phase(self) -> dict[str, set[str]]:
        """Digests of the runs in the plan, by the name of the phase."""
        candidates = [candidate for search in self.searches for candidate in search.candidates]
        crossed = [cell.crossed for cell in self.cells if cell.crossed]
        return {
            "search": {digest for search in self.searches for digest in search.digests},
            "select": {digest for candidate in candidates for digest in candidate.digests},
            "confirm": {digest for cell in self.cells for digest in cell.digests}
            | {digest for runs in crossed for digest in runs.digests},
        }

    @property
    def stopped_digests(self) -> set[str]:
        """Digests of the runs that were stopped early, and that no other trial needs whole."""
        stopped: set[str] = set()
        whole: set[str] = set()
        for search in self.searches:
            trials = search.stopped_by_position
            for position, digests in enumerate(search.runs_by_trial):
                is_whole = position not in trials or trials[position].epoch is None
                (whole if is_whole else stopped).update(digests)
        return stopped - whole

    @property
    def digests(self) -> set[str]:
        """Digests of all runs in the plan: trials, candidates and cells."""
        return set().union(*self.digests_by_phase.values())

    def to_json(self) -> str:
        """Return the plan as indented JSON."""
        values = asdict(self)
        for search, search_values in zip(self.searches, values["searches"], strict=True):
            search_values["space"] = {
                name: identity_of(space) for name, space in search.space.items()
            }
        return json.dumps(values, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> PlanRecord:
        """Parse the plan from JSON text, or from its UTF-8 encoding.

        Raises:
            RecordError: if the text is damaged or was written by another version.
        """
        try:
            values: Any = printable_values(json.loads(text))
            return cls(
                **{
                    **values,
                    "dataset": DatasetRecord(**values["dataset"]),
                    "searches": [_parse_tuning_record(search) for search in values["searches"]],
                    "cells": [_parse_cell_record(cell) for cell in values["cells"]],
                    "history": _parse_history(values.get("history")),
                }
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RecordError(
                f"{PLAN_FILE} is damaged or was written by another version: {error}"
            ) from error


def _parse_history(values: Mapping[str, Any] | None) -> HistoryRecord | None:
    """Parse the trials of an earlier sweep from the values of their JSON object."""
    if values is None:
        return None
    trials = [HistoryTrial(**trial) for trial in values["trials"]]
    return HistoryRecord(**{**values, "trials": trials})


def _parse_cell_record(values: Mapping[str, Any]) -> CellRecord:
    """Parse the record of a cell from the values of its JSON object."""
    crossed = values.get("crossed")
    return CellRecord(**{**values, "crossed": crossed and CrossedRecord(**crossed)})


def printable_values(value: object) -> object:
    """Return a JSON value whose texts have no control or formatting characters.

    The texts come from studies, extensions and data folders of any origin, and are printed on
    terminals, where escape sequences would act.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [printable_values(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): printable_values(item) for key, item in value.items()}
    return value


def _parse_tuning_record(values: Mapping[str, Any]) -> TuningRecord:
    """Parse the record of a search from the values of its JSON object."""
    values = dict(values)
    reference = values["reference"]
    if chosen_digest := values.pop("chosen_digest", ""):  # of a version with one seed
        values["chosen_digests"] = [chosen_digest]
    return TuningRecord(
        **{
            **values,
            "space": {name: space_from_json(space) for name, space in values["space"].items()},
            "reference": reference and ReferenceRecord(**reference),
            "candidates": [CandidateRecord(**candidate) for candidate in values["candidates"]],
            "stopped": [StoppedTrialRecord(**trial) for trial in values.get("stopped", ())],
        }
    )
