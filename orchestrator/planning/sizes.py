"""Numbers of runs in each phase of a sweep, grouped by what each run costs."""

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
    from search_spaces.schema import Study
    from trainables.datasets.base import Dataset
    from trainables.run.seeds import Seeds
    from trainables.run.spec import RunSpec


NetworkKey = tuple[str, FrozenMap]
"""Identity of a network: the name of its backbone and the backbone's settings, such as widths."""


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Group of runs that cost the same.

    Attributes:
        run_count: number of runs.
        spec: spec of one of the runs.
        train_count: number of samples that each run trains on.
        evaluated_count: number of samples that each evaluation of the network predicts.
        state_bytes: size of the state that the method stores for all training samples, in bytes.
        is_label_source: whether other runs wait for these runs, since the noisy labels of the
            others are drawn from their predictions.
    """

    run_count: int
    spec: RunSpec
    train_count: int
    evaluated_count: int
    state_bytes: int
    is_label_source: bool = False


@dataclass(frozen=True, slots=True)
class SimilarRuns:
    """Group of runs of a phase that differ only in hyperparameter values and seeds.

    Attributes:
        spec: spec of one of the runs.
        run_count: number of runs.
        is_prerequisite: whether the runs are carried out only because other runs use their
            results.
    """

    spec: RunSpec
    run_count: int = 1
    is_prerequisite: bool = False


@dataclass(frozen=True, slots=True)
class PhaseSize:
    """Number of runs in one phase of a sweep, in total and by cost.

    Attributes:
        phase: phase of the sweep: search, select or confirm.
        run_count_formula: text that explains the number of runs, such as "4 trials × 1 seed".
        groups: runs of the phase, grouped by cost.
        max_concurrent_runs: largest number of runs that may be carried out at a time, apart from
            those that other runs need; None for no limit.
    """

    phase: Phase
    run_count_formula: str
    groups: tuple[RunGroup, ...]
    max_concurrent_runs: int | None = None

    @property
    def max_run_count(self) -> int:
        """Largest possible number of runs in the phase, including runs that other runs need."""
        return sum(group.run_count for group in self.groups)


def network_key(spec: RunSpec) -> NetworkKey:
    """Return the identity of the network that a run trains."""
    return spec.backbone, spec.backbone_parameters


def sample_counts(spec: RunSpec, dataset: Dataset) -> tuple[int, int]:
    """Return the numbers of samples that a run trains on and that each of its evaluations predicts.

    Args:
        spec: spec of the run.
        dataset: dataset of the run.
    """
    sample_count = spec.subset or len(dataset.train)
    val_count = held_out_count(spec.hold_out, sample_count)
    split_sizes = {
        "val": val_count,
        "clean_val": val_count if dataset.validation is None else len(dataset.validation),
        "test": sum(
            min(spec.test_subset or len(split), len(split))
            for split in dataset.test_splits.values()
        ),
    }
    return sample_count - val_count, sum(split_sizes[name] for name in spec.evaluate)


def phase_sizes(plan: Plan) -> tuple[PhaseSize, ...]:
    """Count the runs in each phase of a plan, as the largest number that can become necessary.

    A run whose result other runs use is counted once, in the first phase in which it is used.
    """
    study, searches = plan.study, plan.searches
    trial_count = study.search.trials
    reference_methods = [method for method in study.tune if reference_of(study, method) is not None]
    searches_text = (
        f"{format_count(len(searches), 'search', 'searches')} × " if len(searches) > 1 else ""
    )
    counted_digests: set[str] = set()
    sizes = []
    if searches:
        candidate_count = min(study.select.candidates, trial_count)
        tried_counts = [
            candidate_count + (search.method in reference_methods) for search in searches
        ]
        candidates_text = format_count(candidate_count, "candidate")
        if reference_methods:
            where_text = " where known" if min(tried_counts) < max(tried_counts) else ""
            candidates_text = f"({candidates_text} + 1 with reference values{where_text})"
        needs_text = _needs_text(plan, study.tune, [search.scenario for search in searches])
        sizes = [
            PhaseSize(
                Phase.SEARCH,
                f"{searches_text}{format_count(trial_count, 'trial')} × "
                f"{format_count(len(study.search.seeds), 'seed')}{needs_text}",
                _group_by_cost(
                    plan,
                    (
                        runs
                        for search in searches
                        for seed in study.search.seeds
                        for runs in _runs_of_search(plan, Phase.SEARCH, search, seed, trial_count)
                    ),
                    counted_digests,
                ),
                max_concurrent_search_runs(plan),
            ),
            PhaseSize(
                Phase.SELECT,
                f"{searches_text}{candidates_text} × "
                f"{format_count(len(study.select.seeds), 'seed')}{_stages_text(study.tune)}",
                _group_by_cost(
                    plan,
                    (
                        runs
                        for search, count in zip(searches, tried_counts, strict=True)
                        for seed in study.select.seeds
                        for runs in _runs_of_search(plan, Phase.SELECT, search, seed, count)
                    ),
                    counted_digests,
                ),
            ),
        ]
    varied_value_count = sum(len(confirm_cell_values(study, method)) for method in study.vary)
    unvaried_method_count = len(study.methods) - len(study.vary)
    methods_text = (
        format_count(unvaried_method_count, "method")
        if unvaried_method_count or not varied_value_count
        else ""
    )
    if varied_value_count:
        methods_text += (
            f"{' + ' if methods_text else ''}{format_count(varied_value_count, 'varied value')}"
        )
    if reference_methods:
        methods_text += f" + {len(reference_methods)} with reference values"
    searched_scenarios = [search.scenario for search in searches]
    unsearched_scenarios = [name for name in study.scenarios if name not in searched_scenarios]
    return (
        *sizes,
        PhaseSize(
            Phase.CONFIRM,
            f"{format_count(len(study.scenarios), 'scenario')} × ({methods_text}) × "
            f"{_confirm_seeds_text(study)}"
            f"{_needs_text(plan, study.methods, unsearched_scenarios)}",
            _group_by_cost(plan, _runs_of_confirm(plan), counted_digests),
        ),
    )


def max_concurrent_search_runs(plan: Plan) -> int:
    """Return the largest number of runs of the search phase at a time, of all searches."""
    settings = plan.study.search
    return min(settings.lag, settings.trials) * max_concurrent_trial_runs(plan) * len(plan.searches)


def max_concurrent_trial_runs(plan: Plan) -> int:
    """Return the largest number of runs of one trial at a time: one where seeds are compared."""
    settings = plan.study.search
    return 1 if settings.scheduler.kind == "wilcoxon" else len(settings.seeds)


def _confirm_seeds_text(study: Study) -> str:
    """Return how many runs each table entry has, such as "5 seeds"."""
    seeds_text = format_count(len(study.confirm.seeds), "seed")
    cross = study.confirm.cross
    if cross is None:
        return seeds_text
    return f"({seeds_text} + {len(cross.seeds)}^{len(cross.axes)} of {', '.join(cross.axes)})"


def _stages_text(methods: Sequence[str]) -> str:
    """Name the methods that need earlier runs, as a suffix of a run-count formula; "" if none."""
    names = [without_hash(method) for method in methods if method_of(method).stages]
    return f", and the runs that {', '.join(names)} need" if names else ""


def _needs_text(plan: Plan, methods: Sequence[str], scenarios: Sequence[str]) -> str:
    """Mention the runs that other runs need, as a suffix of a run-count formula; "" if none."""
    draws_from_network = any(plan.posterior_spec(scenario) is not None for scenario in scenarios)
    return _stages_text(methods) + (
        ", and the network that labels are drawn from" if draws_from_network else ""
    )


def _runs_of_search(
    plan: Plan, phase: Phase, search: TuningPlan, seed: int, point_count: int
) -> Iterator[SimilarRuns]:
    """Yield the runs at `point_count` points of a search space with one seed, and runs they need.

    All points share a needed run, unless the spec of the needed run depends on the searched
    hyperparameters.
    """
    first_spec, last_spec = (
        plan.spec(
            phase,
            search.method,
            search.scenario,
            {name: space.ends[end] for name, space in plan.study.space_of(search.method).items()},
            seed,
        )
        for end in (0, 1)
    )
    shared_digests = {need.digest for need in plan.needs_of(last_spec)}
    for need in plan.needs_of(first_spec):
        need_count = 1 if need.digest in shared_digests else point_count
        yield SimilarRuns(need, need_count, is_prerequisite=True)
    yield SimilarRuns(first_spec, point_count)


def _runs_of_confirm(plan: Plan) -> Iterator[SimilarRuns]:
    """Yield the runs of the confirm phase, each once, and the runs they need.

    The first values of the search space stand for tuned values, which are not known yet.
    """
    study = plan.study
    seeds: list[int | Seeds] = [*study.confirm.seeds, *study.crossed_seeds]
    runs_by_digest: dict[str, SimilarRuns] = {}
    needed_by_digest: dict[str, SimilarRuns] = {}
    for scenario in study.scenarios:
        for method in study.methods:
            points: list[Values] = confirm_cell_values(study, method)
            if method in study.tune:
                spaces = study.space_of(method)
                points = [{name: space.ends[0] for name, space in spaces.items()}]
                reference = plan.reference_of(method)
                if reference is not None and reference not in points:
                    points.append(reference)
            for point in points:
                for seed in seeds:
                    spec = plan.spec(Phase.CONFIRM, method, scenario, point, seed)
                    runs_by_digest[spec.digest] = SimilarRuns(spec)
                    for need in plan.needs_of(spec):
                        needed_by_digest[need.digest] = SimilarRuns(need, is_prerequisite=True)
    yield from runs_by_digest.values()
    yield from (runs for digest, runs in needed_by_digest.items() if digest not in runs_by_digest)


def _group_by_cost(
    plan: Plan, similar_runs: Iterable[SimilarRuns], counted_digests: set[str]
) -> tuple[RunGroup, ...]:
    """Group the runs of a phase by cost, and leave out prerequisites that were counted before.

    Args:
        plan: plan that the runs belong to.
        similar_runs: runs of the phase.
        counted_digests: digests of the prerequisites that earlier phases counted; those of this
            phase are added.
    """
    groups: dict[tuple[object, ...], RunGroup] = {}
    class_count = len(plan.dataset.classes)
    label_source_digests = {spec.digest for spec in plan.posterior_specs}
    for runs in similar_runs:
        spec = runs.spec
        if runs.is_prerequisite and spec.digest in counted_digests:
            continue
        if runs.is_prerequisite:
            counted_digests.add(spec.digest)
        train_count, evaluated_count = sample_counts(spec, plan.dataset)
        state_bytes = method_of(spec.method).state_bytes(
            spec.hyperparameters, train_count, class_count
        )
        is_label_source = spec.digest in label_source_digests
        key = (
            spec.method,
            network_key(spec),
            spec.recipe,
            train_count,
            evaluated_count,
            state_bytes,
            is_label_source,
        )
        previous_count = groups[key].run_count if key in groups else 0
        groups[key] = RunGroup(
            previous_count + runs.run_count,
            spec,
            train_count,
            evaluated_count,
            state_bytes,
            is_label_source,
        )
    return tuple(groups.values())
