"""From a study and its data to the specs of its runs: pure, but for the hashing of labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.planning.protocol import HeldOutAccuracy
from reports.words import counted
from search_spaces.schema import Phase
from trainables.realisation import realise
from trainables.spec import RunSpec, canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search_spaces.schema import Study
    from trainables.datasets.base import Dataset
    from trainables.parameters import Value
    from trainables.seeds import Seeds


Values = dict[str, float]
"""Of searched hyperparameters, by name."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """One search of a sweep.

    Attributes:
        method: whose space is searched.
        scenario: on which label noise.
        serves: the scenarios that use its winner.
    """

    method: str
    scenario: str
    serves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhaseSize:
    """How many runs a phase has, and what one of them does.

    Attributes:
        phase: which.
        runs: how many at the most.
        arithmetic: how that number comes about, for people.
        train: samples of the training part.
        evaluated: samples evaluated after an evaluated epoch.
    """

    phase: Phase
    runs: int
    arithmetic: str
    train: int
    evaluated: int


@dataclass
class Plan:
    """A study over a dataset that has been read.

    Attributes:
        name: of the study.
        study: what is to be found out.
        dataset: what it is found out on.
    """

    name: str
    study: Study
    dataset: Dataset
    _labels: dict[tuple[str, int, int], str] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """Number of training samples used, before any are held out."""
        return self.study.subset or len(self.dataset.train)

    @property
    def digest(self) -> str:
        """Name of the sweep: its study, without what only says how much of it to do.

        Raising the number of trials or seeds continues a sweep; any other change is another one.
        """
        plain = self.study.model_dump(mode="json")
        for section, key in (("search", "trials"), ("select", "seeds"), ("confirm", "seeds")):
            del plain[section][key]
        for key in ("title", "deviations", "resources"):
            del plain[key]
        content = {"study": plain, "name": self.name, "data": self.dataset.digest}
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    @property
    def searches(self) -> tuple[SearchPlan, ...]:
        """The searches: one per tuned method, or one per method and scenario."""
        return tuple(
            SearchPlan(method, scenario, serves)
            for method in self.study.search.methods
            for scenario, serves in self.study.searched.items()
        )

    def reference_of(self, method: str) -> Values | None:
        """Return the paper's point in a method's search space; None if the study has none."""
        reference = self.study.reference_of(method)
        space = self.study.space_of(method)
        return None if reference is None else {name: reference.number(name) for name in space}

    def held_out(self, phase: Phase) -> int:
        """Number of samples held out in a phase."""
        return round(self.study.fraction_held_out(phase) * self.samples)

    @property
    def protocol(self) -> HeldOutAccuracy:
        """Which number chooses."""
        return HeldOutAccuracy(
            window=self.study.recipe.window,
            classes=len(self.dataset.classes),
            held_out=self.held_out(Phase.SEARCH),
        )

    def spec(
        self, phase: Phase, method: str, scenario: str, values: Mapping[str, Value], seed: int
    ) -> RunSpec:
        """Describe one run.

        Args:
            phase: decides what is held out and what evaluated.
            method: what is trained.
            scenario: on which label noise.
            values: of the searched hyperparameters; the study's own for the others.
            seed: base seed of every axis that the study does not hold fixed.
        """
        study = self.study
        seeds = study.seeds(seed)
        return RunSpec(
            dataset=study.dataset,
            data=self.dataset.digest,
            subset=study.subset,
            scenario=scenario,
            labels=self._labels_digest(scenario, seeds),
            backbone=study.backbone.name,
            backbone_parameters=study.backbone.parameters,
            method=method,
            hyperparameters=study.hyperparameters_of(method, **values),
            recipe=study.recipe,
            hold_out=study.fraction_held_out(phase),
            evaluate=study.evaluates(phase),
            seeds=seeds,
            threads=study.resources.cpus,
        )

    def _labels_digest(self, scenario: str, seeds: Seeds) -> str:
        key = (scenario, seeds.noise, seeds.subset)
        if key not in self._labels:
            labels = realise(
                self.dataset.train.labels,
                len(self.dataset.classes),
                scenario,
                self.study.subset,
                seeds,
            )
            self._labels[key] = labels.digest
        return self._labels[key]

    def sizes(self) -> tuple[PhaseSize, ...]:
        """Return how many runs each phase has at the most, and what one of them does."""
        study, searches = self.study, len(self.searches)
        trials, seeds = study.search.trials, len(study.confirm.seeds)
        references = [m for m in study.search.methods if study.reference_of(m) is not None]
        per_search = min(study.select.candidates, trials) + (1 if references else 0)
        held_out = self.held_out(Phase.SEARCH)
        cells = len(study.methods) + len(references)
        confirmed = self.held_out(Phase.CONFIRM)
        many = f"{counted(searches, 'search', 'searches')} × " if searches > 1 else ""
        sizes = []
        if searches:
            sizes = [
                PhaseSize(
                    Phase.SEARCH,
                    searches * trials,
                    f"{many}{counted(trials, 'trial')} × 1 seed",
                    self.samples - held_out,
                    held_out,
                ),
                PhaseSize(
                    Phase.SELECT,
                    searches * per_search * len(study.select.seeds),
                    f"{many}{counted(per_search, 'candidate')} × "
                    f"{counted(len(study.select.seeds), 'seed')}",
                    self.samples - held_out,
                    held_out,
                ),
            ]
        points = counted(len(study.methods), "method")
        if references:
            points += f" + {len(references)} at the paper's point"
        confirm = PhaseSize(
            Phase.CONFIRM,
            len(study.scenarios) * cells * seeds,
            f"{counted(len(study.scenarios), 'scenario')} × ({points}) × {counted(seeds, 'seed')}",
            self.samples - confirmed,
            confirmed + len(self.dataset.test),
        )
        return (*sizes, confirm)
