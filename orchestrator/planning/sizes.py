"""How many runs a plan has, and what they do: for the plan's cost, and for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.words import counted
from search_spaces.phases import Phase
from search_spaces.resolve import points_of, reference_of
from trainables.methods import method_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.planning.plan import Plan, SearchPlan, Values
    from trainables.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Load:
    """Runs that cost the same.

    Attributes:
        runs: how many.
        spec: of one of them.
        train: samples of the training part.
        evaluated: samples evaluated after an evaluated epoch.
        state_bytes: of the method's per-sample state.
    """

    runs: int
    spec: RunSpec
    train: int
    evaluated: int
    state_bytes: int


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


def phase_sizes(plan: Plan) -> tuple[PhaseSize, ...]:
    """Return how many runs each phase of a plan has at the most, and what they do."""
    study, searches = plan.study, plan.searches
    trials, seeds = study.search.trials, len(study.confirm.seeds)
    references = [m for m in study.tune if reference_of(study, m) is not None]
    many = f"{counted(len(searches), 'search', 'searches')} × " if len(searches) > 1 else ""
    sizes = []
    if searches:
        tried = [
            min(study.select.candidates, trials) + (search.method in references)
            for search in searches
        ]
        candidates = counted(max(tried), "candidate")
        if min(tried) < max(tried):
            candidates = f"{min(tried)} or {candidates}"
        sizes = [
            PhaseSize(
                Phase.SEARCH,
                f"{many}{counted(trials, 'trial')} × 1 seed{_with_stages(study.tune)}",
                _loads(plan, _trial_specs(plan, trials)),
            ),
            PhaseSize(
                Phase.SELECT,
                f"{many}{candidates} × {counted(len(study.select.seeds), 'seed')}"
                f"{_with_stages(study.tune)}",
                _loads(
                    plan,
                    (
                        (spec, count * len(study.select.seeds) * tried[i])
                        for i, search in enumerate(searches)
                        for spec, count in _trial_specs(plan, 1, (search,))
                    ),
                ),
            ),
        ]
    varied = sum(len(points_of(study, method)) for method in study.vary)
    fixed = len(study.methods) - len(study.vary)
    points = counted(fixed, "method") if fixed or not varied else ""
    if varied:
        points += f"{' + ' if points else ''}{counted(varied, 'varied value')}"
    if references:
        points += f" + {len(references)} at the paper's point"
    confirm = PhaseSize(
        Phase.CONFIRM,
        f"{counted(len(study.scenarios), 'scenario')} × ({points}) × {counted(seeds, 'seed')}"
        f"{_with_stages(study.methods)}",
        _loads(plan, ((spec, 1) for spec in _confirm_specs(plan))),
    )
    return (*sizes, confirm)


def posterior_load(plan: Plan, spec: RunSpec) -> Load:
    """Return what a run on clean labels does that label noise is drawn from."""
    return Load(1, spec, plan.samples, 0, 0)


def _with_stages(methods: Sequence[str]) -> str:
    staged = [method for method in methods if method_of(method).stages]
    return f", and the runs that {', '.join(staged)} need" if staged else ""


def _trial_specs(
    plan: Plan, trials: int, searches: Sequence[SearchPlan] | None = None
) -> Iterator[tuple[RunSpec, int]]:
    """Yield, as (spec, how many), what a trial of each search trains."""
    for search in plan.searches if searches is None else searches:
        low = {name: space.low for name, space in plan.study.space_of(search.method).items()}
        seed = plan.study.search.seed
        spec = plan.spec(Phase.SEARCH, search.method, search.scenario, low, seed)
        for one in (*plan.stages_of(spec), spec):
            yield one, trials


def _confirm_specs(plan: Plan) -> list[RunSpec]:
    """Return what confirm trains, a run that serves twice once; tuned values are made up."""
    study = plan.study
    found: dict[str, RunSpec] = {}
    for scenario in study.scenarios:
        for method in study.methods:
            points: list[Values] = points_of(study, method)
            if method in study.tune:
                space = study.space_of(method)
                points = [{name: interval.low for name, interval in space.items()}]
                reference = plan.reference_of(method)
                if reference is not None and reference not in points:
                    points.append(reference)
            for point in points:
                for seed in study.confirm.seeds:
                    spec = plan.spec(Phase.CONFIRM, method, scenario, point, seed)
                    found |= {one.digest: one for one in (*plan.stages_of(spec), spec)}
    return list(found.values())


def _loads(plan: Plan, specs: Iterable[tuple[RunSpec, int]]) -> tuple[Load, ...]:
    loads: dict[tuple[object, ...], Load] = {}
    classes = len(plan.dataset.classes)
    for spec, count in specs:
        held = round(spec.hold_out * plan.samples)
        dataset = plan.dataset
        size = {
            "val": held,
            "clean_val": held if dataset.validation is None else len(dataset.validation),
            "test": sum(map(len, dataset.tests.values())),
        }
        train = plan.samples - held
        evaluated = sum(size[name] for name in spec.evaluate)
        state = method_of(spec.method).state_bytes(spec.hyperparameters, train, classes)
        key = (spec.method, spec.recipe, train, evaluated, state)
        before = loads[key].runs if key in loads else 0
        loads[key] = Load(before + count, spec, train, evaluated, state)
    return tuple(loads.values())
