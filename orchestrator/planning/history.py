"""Trials of an earlier sweep, from which the searches of a sweep learn (`--from`).

They are copied into the plan of the sweep when it starts, so that it stays the same sweep whatever
becomes of the earlier one.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.planning.protocol import HeldOutAccuracy
from orchestrator.recorded_names import check_recorded
from orchestrator.tracking.archive import iter_archives
from orchestrator.watching.sweep_status import StatusReader
from reports.plan_record import HistoryRecord, HistoryTrial, PlanRecord
from search_spaces.schema import LEARNING_SAMPLERS
from trainables.errors import UserError
from trainables.run.parameters import active_spaces
from trainables.run.protocols import HeldOutMean, protocol_from_identity
from trainables.run.record import Record
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan
    from reports.plan_record import HyperparameterValues, TuningRecord
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec


def find_history(home: Home, plan: Plan, name: str) -> HistoryRecord:
    """Return the trials of an earlier sweep that the searches of a plan learn from.

    If a sweep with this plan was started from a sweep of this name already, its trials are those of
    its start.

    Args:
        home: home folder with both sweeps.
        plan: plan of the sweep, without a history.
        name: name of a study, whose latest sweep is meant; or the beginning of a sweep's digest.

    Raises:
        UserError: if the sampler learns nothing, no sweep has the name, or none of its trials can
            be used.
        RecordError: if a record of the earlier sweep is damaged.
    """
    sampler = plan.study.search.sampler
    if sampler not in LEARNING_SAMPLERS or not plan.searches:
        reason = f"the sampler {sampler} learns nothing" if plan.searches else "nothing is searched"
        raise UserError(
            f"--from {name}: {reason}: choose search.sampler=tpe or gp for a tuned method, or "
            "leave --from out"
        )
    for history in reversed(list(_iter_histories(home))):
        if (history.name, history.base) == (name, plan.digest):
            return history
    (archive,) = StatusReader(home).archives(name)
    earlier_plan, _ = archive.read_plan_and_study()
    trials = list(_iter_trials(home, earlier_plan))
    methods = {search.method for search in plan.searches}
    usable_trials = [trial for trial in trials if trial.method in methods and _fits(plan, trial)]
    if not usable_trials:
        raise UserError(
            f"--from {name}: sweep {earlier_plan.sweep[:12]} of '{earlier_plan.study}' has "
            f"{len(trials)} complete trials, none of which searches the same hyperparameters of "
            "the same method with values in the searched ranges: name another sweep, or leave "
            "--from out"
        )
    return HistoryRecord(earlier_plan.sweep, earlier_plan.study, name, plan.digest, usable_trials)


def check_history_name(home: Home, name: str) -> None:
    """Check that a sweep has a name, or that one was started from a sweep of this name.

    Args:
        home: home folder, which need not exist.
        name: name as in `find_history`.

    Raises:
        UserError: if no sweep has the name, as is `HomeError` if there are no sweeps.
    """
    if all(history.name != name for history in _iter_histories(home)):
        check_recorded(home, [name])
        StatusReader(home).archives(name)


def other_starts(home: Home, plan: Plan) -> list[str]:
    """Return the names with which sweeps with the same plan were started from another sweep.

    Args:
        home: home folder.
        plan: plan without a history.
    """
    return [history.name for history in _iter_histories(home) if history.base == plan.digest]


def _iter_histories(home: Home) -> Iterator[HistoryRecord]:
    """Yield the histories of all sweeps in a home folder that have one, oldest first."""
    for archive in iter_archives(home.path):
        plan = archive.read_plan()
        if plan is not None and plan.history is not None:
            yield plan.history


def _iter_trials(home: Home, plan: PlanRecord) -> Iterator[HistoryTrial]:
    """Yield the complete trials of a sweep whose runs are all recorded."""
    for search in plan.searches:
        for digests in search.runs_by_whole_trial:
            results = [Record(home.path, digest).read_result() for digest in digests]
            recorded = [result for result in results if result is not None and result.is_final]
            if recorded and len(recorded) == len(digests):
                objective = fmean(_objective(plan, search, result) for result in recorded)
                values = _values(recorded[0].spec, search)
                yield HistoryTrial(search.method, search.scenario, values, objective)


def _objective(plan: PlanRecord, search: TuningRecord, result: RunResult) -> float:
    """Return the objective of a run, as its own sweep has computed it."""
    identity = plan.protocols.get(search.scenario)
    spec = result.spec
    return HeldOutAccuracy(
        protocol_from_identity(identity) if identity else HeldOutMean(plan.window),
        plan.dataset.classes,
        held_out_count(spec.hold_out, spec.subset or plan.dataset.train_size),
    ).compute(result)


def _values(spec: RunSpec, search: TuningRecord) -> HyperparameterValues:
    """Return the values of the searched hyperparameters in a spec."""
    values: HyperparameterValues = {}
    for name in search.space:
        value = (
            spec.hyperparameters[name]
            if name in spec.hyperparameters
            else getattr(spec.recipe, name)
        )
        if not isinstance(value, tuple):
            values[name] = value
    return {name: values[name] for name in active_spaces(search.space, values)}


def _fits(plan: Plan, trial: HistoryTrial) -> bool:
    """Return whether a trial searches the hyperparameters of a plan, inside its search space."""
    spaces = plan.study.space_of(trial.method)
    active = active_spaces(spaces, trial.values)
    return trial.values.keys() == active.keys() and all(
        trial.values[name] in space for name, space in active.items()
    )
