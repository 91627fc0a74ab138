"""What a sweep set out to do and how far it is, as MLflow keeps it: the artifact `plan.json`.

The sweep writes it, reports read it. It names runs by their digests, never by where they stand in
MLflow, since a run may serve two sweeps.
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

Values = dict[str, bool | int | float | str]
"""Values of the tunable hyperparameters, by name."""


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The dataset of a sweep.

    Attributes:
        name: the word used in studies.
        title: as tables print it.
        digest: SHA-256 of its content.
        classes: number of classes K.
        train_size: samples of the training split.
        test_size: samples of the test split.
    """

    name: str
    title: str
    digest: str
    classes: int
    train_size: int
    test_size: int


@dataclass(frozen=True, slots=True)
class ReferenceRecord:
    """A published point of the search space.

    Attributes:
        values: of the searched hyperparameters.
        source: where they are published.
    """

    values: Values
    source: str


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A point that the select phase tried on fresh seeds.

    Attributes:
        values: of the searched hyperparameters.
        origin: whether the search found it or it is the reference.
        digests: of its runs.
    """

    values: Values
    origin: Literal["search", "reference"]
    digests: list[str]


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """One search, and what was selected from it.

    Attributes:
        method: the word used in studies.
        method_title: as tables print it.
        scenario: the scenario searched on.
        serves: the scenarios that use its winner.
        space: where it looked, by hyperparameter.
        trials: how many were asked for.
        digests: of the finished trials' runs, in order.
        reference: the published point, if there is one.
        candidates: what the select phase compared.
        chosen: the winner's values; None while it is not known.
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
    chosen: Values | None = None


@dataclass(frozen=True, slots=True)
class CellRecord:
    """All seeds of one method, scenario and point of the confirm phase.

    Attributes:
        method: the word used in studies.
        method_title: as tables print it.
        scenario: the word used in studies.
        scenario_title: as tables head a column with it.
        values: of the tunable hyperparameters; empty for a method that has none.
        origin: "tuned", "reference", "fixed", "varied", or "tuned, equals reference".
        trials: how many trials of the search led to it; 0 where it was not tuned.
        source: where its values come from.
        seeds: planned, in order.
        digests: of their runs, in the order of `seeds`.
        recipe: how they are trained, in words; "" for the recipe of the study ("matched").
        reading: metric of the number that its own recipe reports; "" for the table's headline.
        one_draw: whether all seeds are trained on one draw of the label noise.
    """

    method: str
    method_title: str
    scenario: str
    scenario_title: str
    values: Values
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
        """Tell whether a search found its values."""
        return self.origin.startswith("tuned")

    @property
    def reference(self) -> bool:
        """Tell whether its values are the published ones."""
        return self.origin.endswith("reference")


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """A sweep as recorded.

    Attributes:
        sweep: its digest.
        study: name of the study.
        title: of the study.
        dataset: what was trained on.
        backbone: title of the architecture.
        subset: how many training samples were used; None for all.
        epochs: length of a training.
        window: `recipe.window` of the study: number of last epochs that are always evaluated.
        scope: whether one search serves all scenarios ("study") or each has its own.
        protocol: which number chooses, in words.
        standard_error: binomial standard error of one run's held-out accuracy, a fraction.
        headline: the reading that a table shows first, in words.
        deviations: where the study departs from the paper.
        searches: of its methods.
        cells: of the confirm phase, as far as they are known.
        state: whether all of it is done.
        fixed_seeds: axes of randomness held fixed while the others vary.
        scenario_epochs: length of a training on the scenarios where it is another one.
        further: titles of what a table shows beside what all have, by a run's number.
        protocols: identity of the protocol that chooses, by scenario; empty in plans of before
            there were others than the mean over the last `window` epochs.
        code: SHA-256 of the source of each extension, by the extension's name.
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
    def averaged(self) -> str:
        """The epochs over which the means of runs are taken, in words."""
        protocols = map(read_protocol, self.protocols.values())
        words = [one.averaged for one in protocols] or [HeldOutMean(self.window).averaged]
        return " or ".join(dict.fromkeys(words))

    @property
    def digests(self) -> set[str]:
        """Every run the plan names; one that serves twice is named once."""
        owners: list[CellRecord | TuningRecord | CandidateRecord] = [
            *self.cells,
            *self.searches,
            *(candidate for search in self.searches for candidate in search.candidates),
        ]
        return {digest for owner in owners for digest in owner.digests}

    def to_json(self) -> str:
        """Write the plan as indented JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> PlanRecord:
        """Read a plan back.

        Raises:
            RecordError: it is damaged, or of another version.
        """
        try:
            plain = json.loads(text)
            return cls(
                **{
                    **plain,
                    "dataset": DatasetRecord(**plain["dataset"]),
                    "searches": [_search(search) for search in plain["searches"]],
                    "cells": [CellRecord(**cell) for cell in plain["cells"]],
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"{PLAN_FILE} is not of this version, or damaged: {error}") from error


def _search(plain: Mapping[str, Any]) -> TuningRecord:
    reference = plain["reference"]
    return TuningRecord(
        **{
            **plain,
            "space": {name: Space(**space) for name, space in plain["space"].items()},
            "reference": reference and ReferenceRecord(**reference),
            "candidates": [CandidateRecord(**one) for one in plain["candidates"]],
        }
    )
