"""Plan of a sweep: the spec of each of its runs, derived from a study and a dataset."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.planning.protocol import HeldOutAccuracy
from reports.words import format_count
from search_spaces.identity import study_identity
from search_spaces.resolve import (
    ResolvedStage,
    posterior_recipe,
    protocol_on,
    reference_of,
    resolve,
)
from trainables.extensions import code_hashes
from trainables.noise import noise_of
from trainables.noise.clean import CLEAN
from trainables.run.identity import digest_of
from trainables.run.parameters import FrozenMap, Scalar, Value, active_spaces
from trainables.run.seeds import Seeds
from trainables.run.spec import REVISION, RunSpec
from trainables.run_data.labels import POSTERIOR_ROLE
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reports.plan_record import HistoryRecord
    from search_spaces.schema import Phase, Study
    from trainables.datasets.base import Dataset


MAX_STANDARD_ERROR = 0.04
"""Standard error of a candidate's held-out accuracy above which a plan prints a warning."""

Values = dict[str, Scalar]
"""Values of the searched hyperparameters by name, such as {"lambda": 1.0, "alpha": 0.9}.

A hyperparameter that is not searched at the other values has no entry.
"""


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """Plan of one hyperparameter search of a sweep.

    Attributes:
        method: name of the method whose search space is searched.
        scenario: name of the scenario (setting of label noise) on which the trials are trained.
        served_scenarios: names of the scenarios that use the values found by the search.
    """

    method: str
    scenario: str
    served_scenarios: tuple[str, ...]


@dataclass
class Plan:
    """Plan of a sweep, which derives the spec of every run from a study and its dataset.

    Attributes:
        name: name of the study.
        study: study that the sweep carries out.
        dataset: dataset of the study.
        annotations: SHA-256 of the noisy labels by scenario, for the scenarios whose labels are
            read (human annotations or a file) instead of drawn.
        history: trials of an earlier sweep that the searches learn from; None for none.
    """

    name: str
    study: Study
    dataset: Dataset
    annotations: Mapping[str, str] = field(default_factory=dict)
    history: HistoryRecord | None = None
    _needed_specs: dict[str, RunSpec] = field(default_factory=dict, init=False)
    _specs: dict[tuple[object, ...], RunSpec] = field(default_factory=dict, init=False)
    _settings: dict[tuple[object, ...], tuple[RunSpec, Mapping[str, ResolvedStage]]] = field(
        default_factory=dict, init=False
    )

    @property
    def sample_count(self) -> int:
        """Number of training samples that each run uses, including the held-out samples."""
        return self.study.subset or len(self.dataset.train)

    @property
    def digest(self) -> str:
        """Digest that names the sweep.

        The digest does not depend on the numbers of trials and seeds, so that a sweep with more
        trials or seeds continues the earlier sweep. Any other change of the study changes the
        digest.
        """
        identity = {
            "study": study_identity(self.study),
            "name": self.name,
            "data": self.dataset.digest,
            "annotations": dict(self.annotations),
            "revision": REVISION,
        }
        if self.history is not None:
            identity["history"] = [asdict(trial) for trial in self.history.trials]
        return digest_of(identity)

    @property
    def searches(self) -> tuple[TuningPlan, ...]:
        """Searches of the sweep: one per tuned method, or one per tuned method and scenario."""
        return tuple(
            TuningPlan(method, scenario, served_scenarios)
            for method in self.study.tune
            for scenario, served_scenarios in self.study.search_scenarios.items()
        )

    def reference_of(self, method: str) -> Values | None:
        """Return the reference point of a method: its paper's values of the hyperparameters.

        The values are restricted to the hyperparameters that are searched there. None if the study
        has no reference point for the method.
        """
        reference = reference_of(self.study, method)
        if reference is None:
            return None
        active = active_spaces(self.study.space_of(method), reference)
        return {name: reference.scalar(name) for name in active}

    @property
    def held_out_count(self) -> int:
        """Number of training samples held out for the choice of hyperparameters."""
        return held_out_count(self.study.search.hold_out, self.sample_count)

    def objective(self, scenario: str) -> HeldOutAccuracy:
        """Return the objective that a search on a scenario maximises."""
        return HeldOutAccuracy(
            protocol=protocol_on(self.study, scenario),
            class_count=len(self.dataset.classes),
            held_out_count=self.held_out_count,
        )

    @property
    def protocols_text(self) -> str:
        """Description of the protocol, the rule that chooses hyperparameters by held-out accuracy.

        If the scenarios have different protocols, each is described with its scenario. Only
        searched scenarios are included, or all scenarios if nothing is searched.
        """
        scenarios = self.study.search_scenarios or self.study.scenarios
        descriptions = {
            scenario: protocol_on(self.study, scenario).description for scenario in scenarios
        }
        if len(set(descriptions.values())) == 1:
            return next(iter(descriptions.values()))
        return "; ".join(f"on {scenario}: {text}" for scenario, text in descriptions.items())

    @property
    def standard_error(self) -> float:
        """Standard error of a single run's held-out accuracy, the objective of the searches."""
        return self.objective(self.study.scenarios[0]).standard_error

    @property
    def held_out_warning(self) -> str:
        """Text that says that too few labels are held out to choose by, and what would do.

        The candidates of a search are compared by their mean over `select.seeds`. "" if the
        standard error of this mean is at most `MAX_STANDARD_ERROR`, or nothing is searched.
        """
        seed_count = len(self.study.select.seeds)
        standard_error = self.standard_error / math.sqrt(seed_count)
        if not self.searches or standard_error <= MAX_STANDARD_ERROR:
            return ""
        fraction = 0.25 / MAX_STANDARD_ERROR**2 / seed_count / self.sample_count
        # Half of the samples must be left to train on.
        hold_out_text = (
            f"search.hold_out={math.ceil(100 * fraction) / 100:g} or " if fraction <= 0.5 else ""
        )
        needed_seed_count = math.ceil((self.standard_error / MAX_STANDARD_ERROR) ** 2)
        return (
            f"{format_count(self.held_out_count, 'held-out label')} × "
            f"{format_count(seed_count, 'seed')} in select.seeds cannot tell candidates apart that "
            f"differ by less than {100 * standard_error:.1f} points: {hold_out_text}"
            f"{needed_seed_count} seeds would bring this down to {100 * MAX_STANDARD_ERROR:g} "
            "points"
        )

    def spec(
        self,
        phase: Phase,
        method: str,
        scenario: str,
        values: Mapping[str, Value],
        seed: int | Seeds,
    ) -> RunSpec:
        """Return the spec of one run.

        Args:
            phase: phase of the run, which determines the held-out and the evaluated splits.
            method: name of the method.
            scenario: name of the scenario.
            values: hyperparameter values that replace those of the study.
            seed: base seed, for each random axis that the study does not hold fixed; or the seeds
                of all random axes.
        """
        # The plan, its costs and the sweep ask for the same specs, whose digests take long. The
        # text of values is compared, since 1 and 1.0 are equal but have different digests.
        settings = (phase, method, scenario, repr(sorted(values.items())))
        if (*settings, seed) not in self._specs:
            if settings not in self._settings:
                self._settings[settings] = self._resolve_settings(phase, method, scenario, values)
            spec, stages = self._settings[settings]
            seeds = seed if isinstance(seed, Seeds) else self.study.axis_seeds(seed)
            self._specs[*settings, seed] = self._with_seeds(spec, seeds, stages)
        return self._specs[*settings, seed]

    def _resolve_settings(
        self, phase: Phase, method: str, scenario: str, values: Mapping[str, Value]
    ) -> tuple[RunSpec, Mapping[str, ResolvedStage]]:
        """Return the spec of a run without seeds of its own, and its method's earlier stages.

        The arguments are those of `spec`. The seeds are those of the base seed 0.
        """
        study = self.study
        resolved = resolve(study, method, scenario).with_values(values)
        evaluate = resolved.evaluated_splits(
            phase, has_validation=self.dataset.validation is not None
        )
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
            evaluate=evaluate,
            seeds=study.axis_seeds(0),
            annotations=self.annotations.get(scenario, ""),
            balanced=study.balanced,
            test_subset=study.test_subset if "test" in evaluate else None,
            unreadable=study.unreadable,
            threads=study.resources.cpus,
        )
        return _with_code(spec), resolved.stages

    def posterior_spec(self, scenario: str) -> RunSpec | None:
        """Return the spec of the run from whose class probabilities noisy labels are drawn.

        The run trains a network on clean labels. None if the noise of the scenario does not depend
        on a network.
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
            seeds=study.axis_seeds(posterior.seed),
            balanced=study.balanced,
            unreadable=study.unreadable,
            threads=study.resources.cpus,
        )
        return _with_code(spec)

    @property
    def posterior_specs(self) -> list[RunSpec]:
        """Specs of the runs from whose class probabilities noisy labels are drawn."""
        specs = [self.posterior_spec(scenario) for scenario in self.study.scenarios]
        return list({spec.digest: spec for spec in specs if spec is not None}.values())

    def _with_seeds(
        self, spec: RunSpec, seeds: Seeds, stages: Mapping[str, ResolvedStage]
    ) -> RunSpec:
        """Return a copy of a spec with seeds and the digests of the runs whose results it uses.

        The specs of the needed runs are stored for `needs_of`.

        Args:
            spec: spec without needed runs.
            seeds: base seed of each random axis.
            stages: earlier runs of the method by their role, with their settings.
        """
        needs = {}
        posterior = self.posterior_spec(spec.scenario)
        if posterior is not None:
            self._needed_specs[posterior.digest] = posterior
            needs[POSTERIOR_ROLE] = posterior.digest
        for role, stage in stages.items():
            resolved = resolve(self.study, stage.method, spec.scenario)
            stage_spec = replace(
                spec,
                method=stage.method,
                hyperparameters=stage.hyperparameters,
                recipe=stage.recipe,
            )
            needed_spec = self._with_seeds(
                _with_code(stage_spec),
                seeds,
                resolved.with_values(stage.hyperparameters).stages,
            )
            self._needed_specs[needed_spec.digest] = needed_spec
            needs[role] = needed_spec.digest
        return spec.with_seeds(seeds, FrozenMap(needs))

    def needs_of(self, spec: RunSpec) -> list[RunSpec]:
        """Return the specs of the runs whose results a run uses, directly or through other runs.

        Args:
            spec: spec returned by this plan.

        Returns:
            Specs in an order in which the runs can be carried out.
        """
        needed_specs: dict[str, RunSpec] = {}
        for digest in spec.needs.values():
            needed_spec = self._needed_specs[str(digest)]
            needed_specs |= {indirect.digest: indirect for indirect in self.needs_of(needed_spec)}
            needed_specs[needed_spec.digest] = needed_spec
        return list(needed_specs.values())


def _with_code(spec: RunSpec) -> RunSpec:
    """Return a copy of a spec with the SHA-256 of each extension (outside code) that it names."""
    code = code_hashes(
        (
            ("dataset", spec.dataset),
            ("backbone", spec.backbone),
            ("method", spec.method),
            ("noise", spec.scenario),
        )
    )
    return replace(spec, code=FrozenMap(code))
