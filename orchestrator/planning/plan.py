"""The plan of a sweep: the specs of all its runs, derived from a study and its data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.planning.protocol import HeldOutAccuracy
from search_spaces.identity import identity
from search_spaces.resolve import (
    ResolvedStage,
    posterior_recipe,
    protocol_on,
    reference_of,
    resolve,
)
from trainables.extensions import code_of
from trainables.noise import noise_of
from trainables.noise.clean import CLEAN
from trainables.run.identity import digest_of
from trainables.run.parameters import FrozenMap, Value
from trainables.run.spec import REVISION, RunSpec
from trainables.run_data.labels import POSTERIOR
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search_spaces.schema import Phase, Study
    from trainables.datasets.base import Dataset


Values = dict[str, float]
"""Values of the searched hyperparameters, by name."""


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """Plan of one search of a sweep.

    Attributes:
        method: method whose space is searched.
        scenario: scenario on which the trials are trained.
        serves: scenarios that use the winner.
    """

    method: str
    scenario: str
    serves: tuple[str, ...]


@dataclass
class Plan:
    """A study over a dataset that has been read.

    Attributes:
        name: name of the study.
        study: checked study.
        dataset: dataset of the study.
        annotations: SHA-256 of the annotations of each scenario that reads any.
    """

    name: str
    study: Study
    dataset: Dataset
    annotations: Mapping[str, str] = field(default_factory=dict)
    _needed: dict[str, RunSpec] = field(default_factory=dict, init=False)

    @property
    def samples(self) -> int:
        """Number of training samples used, before any are held out."""
        return self.study.subset or len(self.dataset.train)

    @property
    def digest(self) -> str:
        """Digest that names the sweep.

        It does not cover the numbers of trials and seeds, so that raising them continues a sweep.
        Any other change of the study makes another sweep.
        """
        return digest_of(
            {
                "study": identity(self.study),
                "name": self.name,
                "data": self.dataset.digest,
                "annotations": dict(self.annotations),
                "revision": REVISION,
            }
        )

    @property
    def searches(self) -> tuple[TuningPlan, ...]:
        """Searches of the sweep: one per tuned method, or one per method and scenario."""
        return tuple(
            TuningPlan(method, scenario, serves)
            for method in self.study.tune
            for scenario, serves in self.study.search_scenarios.items()
        )

    def reference_of(self, method: str) -> Values | None:
        """Return the paper's point in a method's search space; None if the study has none."""
        reference = reference_of(self.study, method)
        space = self.study.space_of(method)
        return None if reference is None else {name: reference.number(name) for name in space}

    @property
    def held_out(self) -> int:
        """Number of samples held out for selection."""
        return held_out_count(self.study.search.hold_out, self.samples)

    def objective(self, scenario: str) -> HeldOutAccuracy:
        """Return the number that chooses hyperparameters on a scenario."""
        return HeldOutAccuracy(
            protocol=protocol_on(self.study, scenario),
            classes=len(self.dataset.classes),
            held_out=self.held_out,
        )

    @property
    def chosen_by(self) -> str:
        """Description of the protocols that choose, by scenario if they differ.

        They are those of the searched scenarios, or of all scenarios if nothing is searched.
        """
        scenarios = self.study.search_scenarios or self.study.scenarios
        names = {scenario: protocol_on(self.study, scenario).name for scenario in scenarios}
        if len(set(names.values())) == 1:
            return next(iter(names.values()))
        return "; ".join(f"on {scenario}: {name}" for scenario, name in names.items())

    @property
    def standard_error(self) -> float:
        """Standard error of the number that chooses, for a single run."""
        return self.objective(self.study.scenarios[0]).standard_error

    def spec(
        self, phase: Phase, method: str, scenario: str, values: Mapping[str, Value], seed: int
    ) -> RunSpec:
        """Return the spec of one run.

        Args:
            phase: phase of the run, which determines the splits held out and evaluated.
            method: name of the method.
            scenario: name of the scenario.
            values: values of the searched hyperparameters; the study gives the others.
            seed: base seed of every axis that the study does not hold fixed.
        """
        study = self.study
        resolved = resolve(study, method, scenario).with_values(values)
        spec = RunSpec(
            dataset=study.dataset,
            data=self.dataset.digest,
            subset=study.subset,
            scenario=scenario,
            backbone=study.backbone.name,
            backbone_parameters=study.backbone.parameters,
            method=method,
            hyperparameters=resolved.hyperparameters,
            recipe=resolved.recipe,
            hold_out=resolved.hold_out(phase),
            evaluate=resolved.evaluated_splits(
                phase, has_validation=self.dataset.validation is not None
            ),
            seeds=study.seeds(seed),
            annotations=self.annotations.get(scenario, ""),
            balanced=study.balanced,
            unreadable=study.unreadable,
            threads=study.resources.cpus,
        )
        return self._with_needs(spec, resolved.stages)

    def posterior_of(self, scenario: str) -> RunSpec | None:
        """Return the run on clean labels whose class probabilities a scenario's noise needs.

        None if the noise does not depend on a network.
        """
        if not noise_of(scenario).needs_posterior:
            return None
        study, posterior = self.study, self.study.posterior
        backbone = posterior.backbone or study.backbone
        spec = RunSpec(
            dataset=study.dataset,
            data=self.dataset.digest,
            subset=study.subset,
            scenario=CLEAN,
            backbone=backbone.name,
            backbone_parameters=backbone.parameters,
            method="ce",
            hyperparameters=FrozenMap(),
            recipe=posterior_recipe(study),
            hold_out=0.0,
            evaluate=(),
            seeds=study.seeds(posterior.seed),
            balanced=study.balanced,
            unreadable=study.unreadable,
            threads=study.resources.cpus,
        )
        return _with_code(spec)

    @property
    def posteriors(self) -> list[RunSpec]:
        """Runs whose class probabilities the noise of the study's scenarios needs."""
        specs = [self.posterior_of(scenario) for scenario in self.study.scenarios]
        return list({spec.digest: spec for spec in specs if spec is not None}.values())

    def _with_needs(self, spec: RunSpec, stages: Mapping[str, ResolvedStage]) -> RunSpec:
        """Return a spec that names the runs it needs, and store the specs of those runs."""
        needs = {}
        posterior = self.posterior_of(spec.scenario)
        if posterior is not None:
            self._needed[posterior.digest] = posterior
            needs[POSTERIOR] = posterior.digest
        for role, stage in stages.items():
            resolved = resolve(self.study, stage.method, spec.scenario)
            needed = self._with_needs(
                replace(
                    spec,
                    method=stage.method,
                    hyperparameters=stage.hyperparameters,
                    recipe=stage.recipe,
                ),
                resolved.with_values(stage.hyperparameters).stages,
            )
            self._needed[needed.digest] = needed
            needs[role] = needed.digest
        return _with_code(replace(spec, needs=FrozenMap(needs)))

    def needs_of(self, spec: RunSpec) -> list[RunSpec]:
        """Return all runs that a run of this plan needs, each after those that it needs itself."""
        needs: dict[str, RunSpec] = {}
        for digest in spec.needs.values():
            need = self._needed[str(digest)]
            needs |= {indirect.digest: indirect for indirect in self.needs_of(need)}
            needs[need.digest] = need
        return list(needs.values())


def _with_code(spec: RunSpec) -> RunSpec:
    """Return a spec with the SHA-256 of the sources of its extensions."""
    code = code_of(
        (
            ("dataset", spec.dataset),
            ("backbone", spec.backbone),
            ("method", spec.method),
            ("noise", spec.scenario),
        )
    )
    return replace(spec, code=FrozenMap(code))
