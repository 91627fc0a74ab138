"""The plan of a sweep: the specs of all its runs, derived from a study and its data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.planning.protocol import HeldOutAccuracy
from search_spaces.identity import study_identity
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
    """Plan of one hyperparameter search of a sweep.

    Attributes:
        method: name of the method whose search space is searched.
        scenario: name of the scenario on which the trials are trained.
        serves: names of the scenarios that use the values found by the search.
    """

    method: str
    scenario: str
    serves: tuple[str, ...]


@dataclass
class Plan:
    """Plan of a sweep: a study, and the dataset that its runs are trained on.

    Attributes:
        name: name of the study.
        study: checked study.
        dataset: dataset of the study.
        annotations: SHA-256 of the labels of each scenario that reads its labels (given by people
            or in a file) instead of drawing them.
    """

    name: str
    study: Study
    dataset: Dataset
    annotations: Mapping[str, str] = field(default_factory=dict)
    _needed_specs: dict[str, RunSpec] = field(default_factory=dict, init=False)

    @property
    def samples(self) -> int:
        """Number of training samples that are used, including those that are held out."""
        return self.study.subset or len(self.dataset.train)

    @property
    def digest(self) -> str:
        """Digest that names the sweep.

        It does not depend on the numbers of trials and seeds, so that a sweep with higher numbers
        continues the earlier one. Any other change of the study results in another sweep.
        """
        return digest_of(
            {
                "study": study_identity(self.study),
                "name": self.name,
                "data": self.dataset.digest,
                "annotations": dict(self.annotations),
                "revision": REVISION,
            }
        )

    @property
    def searches(self) -> tuple[TuningPlan, ...]:
        """Searches of the sweep: one for each tuned method, or one for each of its scenarios."""
        return tuple(
            TuningPlan(method, scenario, serves)
            for method in self.study.tune
            for scenario, serves in self.study.search_scenarios.items()
        )

    def reference_of(self, method: str) -> Values | None:
        """Return the reference of a method: its paper's values of the searched hyperparameters.

        None if the study has no reference for the method.
        """
        reference = reference_of(self.study, method)
        space = self.study.space_of(method)
        return None if reference is None else {name: reference.number(name) for name in space}

    @property
    def held_out(self) -> int:
        """Number of samples held out for the choice of hyperparameters."""
        return held_out_count(self.study.search.hold_out, self.samples)

    def objective(self, scenario: str) -> HeldOutAccuracy:
        """Return the objective that a search on a scenario maximises."""
        return HeldOutAccuracy(
            protocol=protocol_on(self.study, scenario),
            classes=len(self.dataset.classes),
            held_out=self.held_out,
        )

    @property
    def chosen_by(self) -> str:
        """Names of the protocols, the rules that choose hyperparameters by held-out accuracy.

        If the protocols of the scenarios differ, each is named with its scenario. Only searched
        scenarios are included, or all scenarios if nothing is searched.
        """
        scenarios = self.study.search_scenarios or self.study.scenarios
        names = {scenario: protocol_on(self.study, scenario).name for scenario in scenarios}
        if len(set(names.values())) == 1:
            return next(iter(names.values()))
        return "; ".join(f"on {scenario}: {name}" for scenario, name in names.items())

    @property
    def standard_error(self) -> float:
        """Standard error of the objective of a single run."""
        return self.objective(self.study.scenarios[0]).standard_error

    def spec(
        self, phase: Phase, method: str, scenario: str, values: Mapping[str, Value], seed: int
    ) -> RunSpec:
        """Return the spec of one run.

        Args:
            phase: phase of the run, which determines the splits held out and evaluated.
            method: name of the method.
            scenario: name of the scenario.
            values: values of the searched hyperparameters; the others are those of the study.
            seed: seed of every random axis, such as noise, that the study does not hold fixed.
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
        """Return the spec of the run that supplies the class probabilities for a scenario's noise.

        The run trains a network on clean labels. None if the noise does not depend on a network.
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
        """Runs that supply the class probabilities needed by the noise of the study's scenarios."""
        specs = [self.posterior_of(scenario) for scenario in self.study.scenarios]
        return list({spec.digest: spec for spec in specs if spec is not None}.values())

    def _with_needs(self, spec: RunSpec, stages: Mapping[str, ResolvedStage]) -> RunSpec:
        """Return a spec completed with the digests of the runs whose results the run uses.

        The specs of those runs are stored for `needs_of`.
        """
        needs = {}
        posterior = self.posterior_of(spec.scenario)
        if posterior is not None:
            self._needed_specs[posterior.digest] = posterior
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
            self._needed_specs[needed.digest] = needed
            needs[role] = needed.digest
        return _with_code(replace(spec, needs=FrozenMap(needs)))

    def needs_of(self, spec: RunSpec) -> list[RunSpec]:
        """Return the specs of all runs that a run of this plan depends on, directly or indirectly.

        Each comes after the runs that it depends on itself.
        """
        needs: dict[str, RunSpec] = {}
        for digest in spec.needs.values():
            need = self._needed_specs[str(digest)]
            needs |= {indirect.digest: indirect for indirect in self.needs_of(need)}
            needs[need.digest] = need
        return list(needs.values())


def _with_code(spec: RunSpec) -> RunSpec:
    """Return a spec completed with the SHA-256 of all code from outside the package it uses."""
    code = code_of(
        (
            ("dataset", spec.dataset),
            ("backbone", spec.backbone),
            ("method", spec.method),
            ("noise", spec.scenario),
        )
    )
    return replace(spec, code=FrozenMap(code))
