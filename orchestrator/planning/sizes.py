"""How many runs a plan has, and what they do: for the plan's cost, and for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.words import counted
from search_spaces.resolve import confirm_points, reference_of
from search_spaces.schema import Phase
from trainables.methods import method_of
from trainables.run.parameters import FrozenMap
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.planning.plan import Plan, TuningPlan, Values
    from trainables.run.spec import RunSpec


Network = tuple[str, FrozenMap]
"""A backbone and its parameters."""


@dataclass(frozen=True, slots=True)
class Load:
    """Runs that cost the same.

    Attributes:
        runs: how many.
        spec: of one of them.
        train: samples of the training part.
        evaluated: samples evaluated after an evaluated epoch.
        state_bytes: of the method's per-sample state.
        gives_labels: whether the labels of other runs are drawn from them, so that those wait.
    """

    runs: int
    spec: RunSpec
    train: int
    evaluated: int
    state_bytes: int
    gives_labels: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """Runs of a phase that are the same but for values and seeds.

    Attributes:
        spec: of one of them.
        runs: how many.
        needed: whether they are only there because others need them.
    """

    spec: RunSpec
    runs: int = 1
    needed: bool = False


@dataclass(frozen=True, slots=True)
class PhaseSize:
    """How many runs a phase has, and what they do.

    Attributes:
        phase: which.
        arithmetic: how their number comes about, for people.
        loads: of the runs, by what they cost.
    """

    phase: Phase
    arithmetic: str
    loads: tuple[Load, ...]

    @property
    def runs(self) -> int:
        """How many runs there are at the most."""
        return sum(load.runs for load in self.loads)


def network_of(spec: RunSpec) -> Network:
    """Return the network that a run trains, whose steps cost alike whatever the method."""
    return spec.backbone, spec.backbone_parameters


def phase_sizes(plan: Plan) -> tuple[PhaseSize, ...]:
    """Return how many runs each phase of a plan has at the most, and what they do.

    A run that others need is counted once, in the first phase that needs it.
    """
    study, searches = plan.study, plan.searches
    trials, seeds = study.search.trials, len(study.confirm.seeds)
    references = [m for m in study.tune if reference_of(study, m) is not None]
    many = f"{counted(len(searches), 'search', 'searches')} × " if len(searches) > 1 else ""
    counted_needs: set[str] = set()
    sizes = []
    if searches:
        tried = [
            min(study.select.candidates, trials) + (search.method in references)
            for search in searches
        ]
        candidates = counted(max(tried), "candidate")
        if min(tried) < max(tried):
            candidates = f"{min(tried)} or {candidates}"
        with_needs = _needs_text(plan, study.tune, [search.scenario for search in searches])
        sizes = [
            PhaseSize(
                Phase.SEARCH,
                f"{many}{counted(trials, 'trial')} × 1 seed{with_needs}",
                _loads(
                    plan,
                    (
                        share
                        for search in searches
                        for share in _tried(plan, Phase.SEARCH, search, study.search.seed, trials)
                    ),
                    counted_needs,
                ),
            ),
            PhaseSize(
                Phase.SELECT,
                f"{many}{candidates} × {counted(len(study.select.seeds), 'seed')}"
                f"{_stages_text(study.tune)}",
                _loads(
                    plan,
                    (
                        share
                        for search, count in zip(searches, tried, strict=True)
                        for seed in study.select.seeds
                        for share in _tried(plan, Phase.SELECT, search, seed, count)
                    ),
                    counted_needs,
                ),
            ),
        ]
    varied = sum(len(confirm_points(study, method)) for method in study.vary)
    fixed = len(study.methods) - len(study.vary)
    points = counted(fixed, "method") if fixed or not varied else ""
    if varied:
        points += f"{' + ' if points else ''}{counted(varied, 'varied value')}"
    if references:
        points += f" + {len(references)} at the reference"
    searched = [search.scenario for search in searches]
    left = [name for name in study.scenarios if name not in searched]
    return (
        *sizes,
        PhaseSize(
            Phase.CONFIRM,
            f"{counted(len(study.scenarios), 'scenario')} × ({points}) × {counted(seeds, 'seed')}"
            f"{_needs_text(plan, study.methods, left)}",
            _loads(plan, _confirmed(plan), counted_needs),
        ),
    )


def _stages_text(methods: Sequence[str]) -> str:
    staged = [method for method in methods if method_of(method).stages]
    return f", and the runs that {', '.join(staged)} need" if staged else ""


def _needs_text(plan: Plan, methods: Sequence[str], scenarios: Sequence[str]) -> str:
    """Say which runs of a phase are only there because others need them."""
    drawn = any(plan.posterior_of(scenario) is not None for scenario in scenarios)
    return _stages_text(methods) + (", and the network that labels are drawn from" if drawn else "")


def _tried(plan: Plan, phase: Phase, search: TuningPlan, seed: int, count: int) -> Iterator[Share]:
    """Yield what runs of a search's method at `count` points of its space train at a seed.

    A run that they need is one for all points unless it depends on the values.
    """
    low, high = (
        plan.spec(
            phase,
            search.method,
            search.scenario,
            {
                name: getattr(interval, end)
                for name, interval in plan.study.space_of(search.method).items()
            },
            seed,
        )
        for end in ("low", "high")
    )
    shared = {need.digest for need in plan.needs_of(high)}
    for need in plan.needs_of(low):
        yield Share(need, 1 if need.digest in shared else count, needed=True)
    yield Share(low, count)


def _confirmed(plan: Plan) -> Iterator[Share]:
    """Yield what confirm trains, a run that serves twice once; tuned values are made up."""
    study = plan.study
    own: dict[str, Share] = {}
    needs: dict[str, Share] = {}
    for scenario in study.scenarios:
        for method in study.methods:
            points: list[Values] = confirm_points(study, method)
            if method in study.tune:
                points = [{n: interval.low for n, interval in study.space_of(method).items()}]
                reference = plan.reference_of(method)
                if reference is not None and reference not in points:
                    points.append(reference)
            for point in points:
                for seed in study.confirm.seeds:
                    spec = plan.spec(Phase.CONFIRM, method, scenario, point, seed)
                    own[spec.digest] = Share(spec)
                    for need in plan.needs_of(spec):
                        needs[need.digest] = Share(need, needed=True)
    yield from own.values()
    yield from (share for digest, share in needs.items() if digest not in own)


def _loads(plan: Plan, shares: Iterable[Share], counted_needs: set[str]) -> tuple[Load, ...]:
    """Gather runs by what they cost; needed ones that are counted already are left out."""
    loads: dict[tuple[object, ...], Load] = {}
    classes, dataset = len(plan.dataset.classes), plan.dataset
    label_sources = {spec.digest for spec in plan.posteriors}
    for share in shares:
        spec = share.spec
        if share.needed and spec.digest in counted_needs:
            continue
        if share.needed:
            counted_needs.add(spec.digest)
        held = held_out_count(spec.hold_out, plan.samples)
        size = {
            "val": held,
            "clean_val": held if dataset.validation is None else len(dataset.validation),
            "test": sum(map(len, dataset.tests.values())),
        }
        train = plan.samples - held
        evaluated = sum(size[name] for name in spec.evaluate)
        state = method_of(spec.method).state_bytes(spec.hyperparameters, train, classes)
        gives_labels = spec.digest in label_sources
        key = (spec.method, network_of(spec), spec.recipe, train, evaluated, state, gives_labels)
        before = loads[key].runs if key in loads else 0
        loads[key] = Load(before + share.runs, spec, train, evaluated, state, gives_labels)
    return tuple(loads.values())
