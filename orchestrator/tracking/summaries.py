"""Parameters and metrics of cells and sweeps in MLflow, computed from the runs below them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

from orchestrator.tracking.projection import MAX_VALUE_LENGTH, cell_name, run_params
from reports.aggregate import accuracy_kinds
from trainables.extensions import without_hash
from trainables.run.metrics import CELL_MEAN, CELL_STD, TEST_LAST, VAL_MEAN_LAST
from trainables.run.result import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.plan_record import CellRecord, PlanRecord, TuningRecord
    from trainables.run.spec import RunSpec


@dataclass(frozen=True, slots=True)
class EndedRun:
    """What cells and sweeps summarise of a training run that has ended.

    Attributes:
        status: `Status` of the training, such as "finished" or "diverged".
        accuracies: summary accuracies as fractions, by the name of the metric; see
            `summary_accuracies`.
    """

    status: str
    accuracies: Mapping[str, float]


def summary_accuracies(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return those metrics of a run that cells and sweeps summarise.

    Args:
        metrics: last value of each metric of the run, by name.
    """
    return {
        name: value
        for name, value in metrics.items()
        if name.startswith("test/") or name == VAL_MEAN_LAST
    }


def cell_params(spec: RunSpec, record: CellRecord) -> dict[str, str]:
    """Return the MLflow parameters of a cell: the settings that its runs have in common.

    Args:
        spec: spec of any run of the cell.
        record: record of the cell in the plan of its sweep.
    """
    params = run_params(spec)
    del params["seed"]
    own = {"recipe": record.recipe or "matched", "origin": record.origin}
    return params | {name: text[:MAX_VALUE_LENGTH] for name, text in own.items()}


def cell_metrics(plan: PlanRecord, cell: CellRecord, runs: Sequence[EndedRun]) -> dict[str, float]:
    """Return the MLflow metrics of a cell: counts of runs, and mean and deviation of accuracies.

    Every test accuracy that the table of the sweep can show has three metrics, such as
    "test/accuracy_best_val/mean", ".../std" and ".../n". The accuracy in the last epoch is also
    found as "test/accuracy_mean" and "test/accuracy_std".

    Args:
        plan: plan of the sweep.
        cell: record of the cell.
        runs: ended runs of the cell, at most one for each seed.
    """
    finished_runs = [run for run in runs if run.status == Status.FINISHED]
    metrics = {"n": float(len(finished_runs)), "diverged": float(len(runs) - len(finished_runs))}
    readings = [kind.metric for kind in accuracy_kinds(plan)]
    for reading in dict.fromkeys([*readings, cell.reading or TEST_LAST]):
        values = [run.accuracies[reading] for run in finished_runs if reading in run.accuracies]
        if not values:
            continue
        metrics |= {f"{reading}/mean": mean(values), f"{reading}/n": float(len(values))}
        if len(values) >= 2:
            metrics[f"{reading}/std"] = stdev(values)
    for name, statistic in ((CELL_MEAN, "mean"), (CELL_STD, "std")):
        if (value := metrics.get(f"{TEST_LAST}/{statistic}")) is not None:
            metrics[name] = value
    return metrics


def sweep_params(plan: PlanRecord) -> dict[str, str]:
    """Return the MLflow parameters of a sweep: settings that its digest fixes.

    Args:
        plan: plan of the sweep.
    """
    params: dict[str, object] = {
        "study": plan.study,
        "dataset": plan.dataset.name,
        "subset": "all" if plan.subset is None else plan.subset,
        "test_subset": "all" if plan.test_subset is None else plan.test_subset,
        "backbone": plan.backbone,
        "scenarios": ", ".join(sorted(plan.protocols)),
        "epochs": plan.epochs,
        "scope": plan.scope,
        "protocol": plan.protocol,
    }
    return {name: str(value)[:MAX_VALUE_LENGTH] for name, value in params.items() if value != ""}


def sweep_metrics(plan: PlanRecord, runs: Mapping[str, EndedRun]) -> dict[str, float]:
    """Return the MLflow metrics of a sweep: counts of runs, and the best value of each search.

    The best value is the highest held-out accuracy of a whole trial, averaged over the epochs of
    the protocol and over seeds; it is named after the searched method, such as "best/nal". Runs
    that were stopped early are no failures.

    Args:
        plan: plan of the sweep.
        runs: ended runs of the sweep by digest.
    """
    statuses = [run.status for run in runs.values()]
    metrics = {
        "runs": float(len(statuses)),
        "failures": float(
            sum(status not in (Status.FINISHED, Status.STOPPED) for status in statuses)
        ),
    }
    for search in plan.searches:
        accuracies = {
            digest: runs[digest].accuracies[VAL_MEAN_LAST]
            for digest in search.digests
            if digest in runs and VAL_MEAN_LAST in runs[digest].accuracies
        }
        if values := [
            mean(accuracies[digest] for digest in digests)
            for digests in search.runs_by_whole_trial
            if accuracies.keys() >= set(digests)
        ]:
            metrics[f"best/{_search_name(plan, search)}"] = max(values)
    return metrics


def sweep_tags(plan: PlanRecord) -> dict[str, str]:
    """Return the MLflow tags of a sweep that may change: title, state, and values that were chosen.

    Args:
        plan: plan of the sweep in its current state.
    """
    chosen_values = {
        f"nal.chosen.{_search_name(plan, search)}": cell_name("", "", search.chosen)
        for search in plan.searches
        if search.chosen is not None
    }
    tags = {"nal.title": plan.title, "nal.state": plan.state} | chosen_values
    return {name: text[:MAX_VALUE_LENGTH] for name, text in tags.items()}


def _search_name(plan: PlanRecord, search: TuningRecord) -> str:
    """Return the name of a search: its method, and its scenario if each scenario has a search."""
    words = [search.method, *([search.scenario] if plan.scope == "scenario" else [])]
    return "/".join(map(without_hash, words))
