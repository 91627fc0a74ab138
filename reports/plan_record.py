"""Plan and progress of a sweep, as stored in the artifact `plan.json`.

The sweep writes this file and reports read it. The file names runs by their digests, not by their
identifiers in MLflow, since a run may belong to two sweeps.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from trainables.errors import RecordError
from trainables.run.parameters import Space
from trainables.run.protocols import HeldOutMean, read_protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAN_FILE = "plan.json"
"""Name of the MLflow artifact that holds the plan."""

HyperparameterValues = dict[str, bool | int | float | str]
"""Values of the tunable hyperparameters, by name."""


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The dataset of a sweep.

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
    """Published values of the searched hyperparameters.

    Attributes:
        values: values of the searched hyperparameters.
        source: publication that states the values.
    """

    values: HyperparameterValues
    source: str


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A candidate that the select phase tried on fresh seeds.

    Attributes:
        values: values of the searched hyperparameters.
        origin: "search" if a trial proposed the values, "reference" if they are the reference.
        digests: digests of the candidate's runs.
    """

    values: HyperparameterValues
    origin: Literal["search", "reference"]
    digests: list[str]


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """The search for a method's hyperparameters, and the choice among its candidates.

    Attributes:
        method: name of the method in studies.
        method_title: title of the method in tables.
        scenario: scenario on which the trials are trained.
        serves: names of the scenarios that use the chosen values.
        space: range of each searched hyperparameter, by name.
        trials: number of trials that the study requests.
        digests: digests of the runs of complete trials, in order.
        reference: published values; None if there are none.
        candidates: candidates that the select phase compares.
        chosen: values of the winner; None until the select phase is done.
    """

    method: str
    method_title: str
    scenario: str
    serves: list[str]
    space: dict[str, Space]
    trials: int
    digests: list[str]
    reference: ReferenceRecord | None = None
    candidates: list[CandidateRecord] = field(default_factory=list)
    chosen: HyperparameterValues | None = None


@dataclass(frozen=True, slots=True)
class CellRecord:
    """A cell of the confirm phase: all seeds of one method, scenario and values.

    Attributes:
        method: name of the method in studies.
        method_title: title of the method in tables.
        scenario: name of the scenario in studies.
        scenario_title: title of the scenario in tables.
        values: values of the tunable hyperparameters; empty if the method has none.
        origin: "tuned", "reference", "fixed", "varied", or "tuned, equals reference".
        trials: number of trials of the search that chose the values; 0 if they were not tuned.
        source: source of the values.
        seeds: planned seeds, in order.
        digests: digests of the runs, in the order of `seeds`.
        recipe: description of the runs' own recipe; "" for the study's recipe ("matched").
        reading: metric that the runs' own recipe reports; "" for the headline of the table.
        one_draw: whether all seeds are trained on one draw of the label noise.
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

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.digests):
            raise ValueError(
                f"cell {self.method} on {self.scenario}: {len(self.seeds)} seeds, "
                f"but {len(self.digests)} digests"
            )

    @property
    def tuned(self) -> bool:
        """Whether a search chose the values."""
        return self.origin.startswith("tuned")

    @property
    def reference(self) -> bool:
        """Whether the values are those of the reference."""
        return self.origin.endswith("reference")


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """Plan and progress of a sweep.

    Attributes:
        sweep: digest of the sweep.
        study: name of the study.
        title: title of the study.
        dataset: dataset of the study.
        backbone: title of the backbone.
        subset: number of training samples used; None for all.
        epochs: number of epochs of a training.
        window: `recipe.window` of the study, the number of last epochs that are always evaluated.
        scope: "study" if one search serves all scenarios, "scenario" if each has its own.
        protocol: description of the number that chooses hyperparameters.
        standard_error: binomial standard error of one run's held-out accuracy, a fraction.
        headline: title of the test accuracy that tables show first.
        deviations: statements of where the study departs from the paper.
        searches: searches of the tuned methods.
        cells: cells of the confirm phase that are determined so far.
        state: "finished" if all runs of the sweep have ended, else "running".
        fixed_seeds: seed of each axis of randomness that is held fixed while the others vary.
        scenario_epochs: number of epochs on each scenario where it differs from `epochs`.
        further: titles of test accuracies that only this dataset has, by metric.
        code: SHA-256 of the source of each extension, by the extension's name.
        protocols: values that identify the protocol (the rule that chooses hyperparameters), by
            scenario; empty in older plans, whose protocol is the mean over the last `window`
            epochs.
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

    def __post_init__(self) -> None:
        for identity in self.protocols.values():
            read_protocol(identity)

    @property
    def averaged_epochs(self) -> str:
        """Description of the epochs over which the accuracies of runs are averaged."""
        protocols = [read_protocol(identity) for identity in self.protocols.values()]
        descriptions = [p.averaged for p in protocols] or [HeldOutMean(self.window).averaged]
        return " or ".join(dict.fromkeys(descriptions))

    @property
    def digests(self) -> set[str]:
        """Digests of all runs that the plan names."""
        owners: list[CellRecord | TuningRecord | CandidateRecord] = [
            *self.cells,
            *self.searches,
            *(candidate for search in self.searches for candidate in search.candidates),
        ]
        return {digest for owner in owners for digest in owner.digests}

    def to_json(self) -> str:
        """Return the plan as indented JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> PlanRecord:
        """Return the plan that JSON text describes.

        Raises:
            RecordError: if the text is damaged or of another version.
        """
        try:
            values = json.loads(text)
            return cls(
                **{
                    **values,
                    "dataset": DatasetRecord(**values["dataset"]),
                    "searches": [_tuning_record(search) for search in values["searches"]],
                    "cells": [CellRecord(**cell) for cell in values["cells"]],
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"{PLAN_FILE} is not of this version, or damaged: {error}") from error


def _tuning_record(values: Mapping[str, Any]) -> TuningRecord:
    reference = values["reference"]
    return TuningRecord(
        **{
            **values,
            "space": {name: Space(**space) for name, space in values["space"].items()},
            "reference": reference and ReferenceRecord(**reference),
            "candidates": [CandidateRecord(**candidate) for candidate in values["candidates"]],
        }
    )
