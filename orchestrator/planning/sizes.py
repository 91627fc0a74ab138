"""Number and cost-relevant properties of the runs in each phase of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.words import format_count
from search_spaces.resolve import confirm_cell_values, reference_of
from search_spaces.schema import Phase
from trainables.extensions import without_hash
from trainables.methods import method_of
from trainables.run.parameters import FrozenMap
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.planning.plan import Plan, TuningPlan, Values
    from trainables.run.spec import RunSpec


Network = tuple[str, FrozenMap]
"""Name of a backbone and the values of its settings, such as widths (not its weights)."""


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Group of runs that cost the same.

    Attributes:
        runs: number of runs.
        spec: spec of one of the runs.
        train: number of samples that each run trains on.
        evaluated: number of samples on which a run is evaluated after an epoch with evaluation.
        state_bytes: size of the state that the method stores for the samples, in bytes.
        gives_labels: whether noisy labels of other runs are drawn from the predictions of these
            runs, so that the others have to wait.
    """

    runs: int
    spec: RunSpec
    train: int
    evaluated: int
    state_bytes: int
    gives_labels: bool = False


@dataclass(frozen=True, slots=True)
class SimilarRuns:
    """Group of runs of a phase that differ only in hyperparameter values and seeds.

    Attributes:
        spec: spec of one of the runs.
        runs: number of runs.
        needed: whether the runs are carried out only because other runs use their results.
    """

    spec: RunSpec
    runs: int = 1
    needed: bool = False


@dataclass(frozen=True, slots=True)
class PhaseSize:
    """Number and properties of the runs in one phase of a sweep.

    Attributes:
        phase: phase of the sweep: search, select or confirm.
        arithmetic: derivation of the number of runs, such as "4 trials × 1 seed".
        groups: runs of the phase, grouped by cost.
    """

    phase: Phase
    arithmetic: str
    groups: tuple[RunGroup, ...]

    @property
    def runs(self) -> int:
        """Largest possible number of runs in the phase."""
        return sum(group.runs for group in self.groups)


def network_of(spec: RunSpec) -> Network:
    """Return the network that a run trains, which mostly determines the cost of a step."""
    return spec.backbone, spec.backbone_parameters


def phase_sizes(plan: Plan) -> tuple[PhaseSize, ...]:
    """Return the largest possible number of runs in each phase of a plan, and their properties.

    A run whose result other runs use is counted once, in the first phase that uses it.
    """
    study, searches = plan.study, plan.searches
    n_trials, n_seeds = study.search.trials, len(study.confirm.seeds)
    reference_methods = [m for m in study.tune if reference_of(study, m) is not None]
    searches_text = (
        f"{format_count(len(searches), 'search', 'searches')} × " if len(searches) > 1 else ""
    )
    counted_needs: set[str] = set()
    sizes = []
    if searches:
        candidate_counts = [
            min(study.select.candidates, n_trials) + (search.method in reference_methods)
            for search in searches
        ]
        candidates_text = format_count(max(candidate_counts), "candidate")
        if min(candidate_counts) < max(candidate_counts):
            candidates_text = f"{min(candidate_counts)} or {candidates_text}"
        needs_text = _needs_text(plan, study.tune, [search.scenario for search in searches])
        sizes = [
            PhaseSize(
                Phase.SEARCH,
                f"{searches_text}{format_count(n_trials, 'trial')} × 1 seed{needs_text}",
                _group_by_cost(
                    plan,
                    (
                        runs
                        for search in searches
                        for runs in _runs_of_search(
                            plan, Phase.SEARCH, search, study.search.seed, n_trials
                        )
                    ),
                    counted_needs,
                ),
            ),
            PhaseSize(
                Phase.SELECT,
                f"{searches_text}{candidates_text} × "
                f"{format_count(len(study.select.seeds), 'seed')}{_stages_text(study.tune)}",
                _group_by_cost(
                    plan,
                    (
                        runs
                        for search, count in zip(searches, candidate_counts, strict=True)
                        for seed in study.select.seeds
                        for runs in _runs_of_search(plan, Phase.SELECT, search, seed, count)
                    ),
                    counted_needs,
                ),
            ),
        ]
    n_varied = sum(len(confirm_cell_values(study, method)) for method in study.vary)
    n_fixed = len(study.methods) - len(study.vary)
    points_text = format_count(n_fixed, "method") if n_fixed or not n_varied else ""
    if n_varied:
        points_text += f"{' + ' if points_text else ''}{format_count(n_varied, 'varied value')}"
    if reference_methods:
        points_text += f" + {len(reference_methods)} at the reference"
    searched_scenarios = [search.scenario for search in searches]
    unsearched_scenarios = [name for name in study.scenarios if name not in searched_scenarios]
    return (
        *sizes,
        PhaseSize(
            Phase.CONFIRM,
            f"{format_count(len(study.scenarios), 'scenario')} × ({points_text}) × "
            f"{format_count(n_seeds, 'seed')}"
            f"{_needs_text(plan, study.methods, unsearched_scenarios)}",
            _group_by_cost(plan, _runs_of_confirm(plan), counted_needs),
        ),
    )


def _stages_text(methods: Sequence[str]) -> str:
    """Return a text that names the methods with several trainings; "" if there are none."""
    names = [without_hash(method) for method in methods if method_of(method).stages]
    return f", and the runs that {', '.join(names)} need" if names else ""


def _needs_text(plan: Plan, methods: Sequence[str], scenarios: Sequence[str]) -> str:
    """Return a text on the runs that are carried out only because others use their results."""
    posterior = any(plan.posterior_of(scenario) is not None for scenario in scenarios)
    return _stages_text(methods) + (
        ", and the network that labels are drawn from" if posterior else ""
    )


def _runs_of_search(
    plan: Plan, phase: Phase, search: TuningPlan, seed: int, count: int
) -> Iterator[SimilarRuns]:
    """Yield the runs of a search at `count` points of the search space and one seed.

    A run whose result these runs use is shared by all points, unless its own spec depends on the
    hyperparameter values.
    """
    low_spec, high_spec = (
        plan.spec(
            phase,
            search.method,
            search.scenario,
            {
                name: getattr(interval, bound)
                for name, interval in plan.study.space_of(search.method).items()
            },
            seed,
        )
        for bound in ("low", "high")
    )
    shared_digests = {need.digest for need in plan.needs_of(high_spec)}
    for need in plan.needs_of(low_spec):
        yield SimilarRuns(need, 1 if need.digest in shared_digests else count, needed=True)
    yield SimilarRuns(low_spec, count)


def _runs_of_confirm(plan: Plan) -> Iterator[SimilarRuns]:
    """Yield the distinct runs of the confirm phase.

    Tuned values are not known yet; the lower bounds of the search space take their place.
    """
    study = plan.study
    runs_by_digest: dict[str, SimilarRuns] = {}
    needed_by_digest: dict[str, SimilarRuns] = {}
    for scenario in study.scenarios:
        for method in study.methods:
            points: list[Values] = confirm_cell_values(study, method)
            if method in study.tune:
                points = [{n: interval.low for n, interval in study.space_of(method).items()}]
                reference = plan.reference_of(method)
                if reference is not None and reference not in points:
                    points.append(reference)
            for point in points:
                for seed in study.confirm.seeds:
                    spec = plan.spec(Phase.CONFIRM, method, scenario, point, seed)
                    runs_by_digest[spec.digest] = SimilarRuns(spec)
                    for need in plan.needs_of(spec):
                        needed_by_digest[need.digest] = SimilarRuns(need, needed=True)
    yield from runs_by_digest.values()
    yield from (runs for digest, runs in needed_by_digest.items() if digest not in runs_by_digest)


def _group_by_cost(
    plan: Plan, similar_runs: Iterable[SimilarRuns], counted_needs: set[str]
) -> tuple[RunGroup, ...]:
    """Return runs grouped by cost.

    Runs that are only needed by others are left out if `counted_needs` contains their digests;
    otherwise their digests are added to it.
    """
    groups: dict[tuple[object, ...], RunGroup] = {}
    classes, dataset = len(plan.dataset.classes), plan.dataset
    label_sources = {spec.digest for spec in plan.posteriors}
    for runs in similar_runs:
        spec = runs.spec
        if runs.needed and spec.digest in counted_needs:
            continue
        if runs.needed:
            counted_needs.add(spec.digest)
        held_out = held_out_count(spec.hold_out, plan.samples)
        split_sizes = {
            "val": held_out,
            "clean_val": held_out if dataset.validation is None else len(dataset.validation),
            "test": sum(map(len, dataset.tests.values())),
        }
        train_count = plan.samples - held_out
        evaluated_count = sum(split_sizes[name] for name in spec.evaluate)
        state_bytes = method_of(spec.method).state_bytes(spec.hyperparameters, train_count, classes)
        gives_labels = spec.digest in label_sources
        key = (
            spec.method,
            network_of(spec),
            spec.recipe,
            train_count,
            evaluated_count,
            state_bytes,
            gives_labels,
        )
        previous_count = groups[key].runs if key in groups else 0
        groups[key] = RunGroup(
            previous_count + runs.runs,
            spec,
            train_count,
            evaluated_count,
            state_bytes,
            gives_labels,
        )
    return tuple(groups.values())
