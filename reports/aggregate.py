"""Summaries of a sweep's cells: mean, sample standard deviation, and missing runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

from trainables.errors import RecordError
from trainables.run.metrics import TEST_BEST_CLEAN_VAL, TEST_BEST_VAL, TEST_LAST, TEST_MEAN_LAST
from trainables.run.result import BIT_RELEVANT, HISTORY_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun


@dataclass(frozen=True, slots=True)
class Reading:
    """Test accuracy that is read from a run for a table, such as the one in the last epoch.

    Attributes:
        metric: name of the recorded metric.
        title: title of this accuracy in tables.
    """

    metric: str
    title: str


def readings(plan: PlanRecord) -> tuple[Reading, ...]:
    """Return the test accuracies that the tables of a sweep can show."""
    dataset_readings = [Reading(metric, title) for metric, title in plan.further.items()]
    return (
        Reading(TEST_LAST, "last epoch"),
        Reading(TEST_MEAN_LAST, f"mean of {plan.averaged_epochs}"),
        Reading(TEST_BEST_VAL, "epoch chosen by noisy validation"),
        *dataset_readings,
    )


METRICS_WITHOUT_COLUMN = (TEST_BEST_CLEAN_VAL,)
"""Metrics that only a published recipe may report; they have no column of their own."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """Mean and standard deviation of a metric over the seeds of a cell.

    Attributes:
        mean: mean over the runs that finished, a fraction; None if no run finished.
        std: sample standard deviation (ddof 1), a fraction; None for fewer than two runs.
        n: number of runs that finished.
    """

    mean: float | None
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic:
        """Return the statistic of the values of the runs that finished."""
        return cls(
            mean=mean(values) if values else None,
            std=stdev(values) if len(values) >= 2 else None,
            n=len(values),
        )


@dataclass(frozen=True, slots=True)
class CellSummary:
    """Summary of the recorded runs of a cell: one method, scenario and set of values.

    Attributes:
        cell: the planned cell.
        statistics: statistic of each metric that tables can show, by the metric's name.
        diverged: number of runs that diverged.
        out_of_memory: number of runs whose device had too little memory.
        not_converged: number of runs that failed to converge, including those that diverged.
        missing: seeds whose run is not recorded.
        flip_rate: mean true flip rate over the recorded runs, a fraction; None if no run has one.
        devices: names of the devices that trained the runs.
        labels: SHA-256 of the noisy labels, by seed.
        revisions: revision of the training code, by seed.
        changes: changes of device or version between the start and the continuation of a run, such
            as "torch 2.6.0, then 2.7.0", by seed; only seeds with a change.
    """

    cell: CellRecord
    statistics: Mapping[str, Statistic]
    diverged: int
    out_of_memory: int
    not_converged: int
    missing: tuple[int, ...]
    flip_rate: float | None
    devices: frozenset[str]
    labels: Mapping[int, str]
    revisions: Mapping[int, int]
    changes: Mapping[int, str]

    @property
    def planned(self) -> int:
        """Number of seeds planned."""
        return len(self.cell.seeds)

    @property
    def stagnated(self) -> int:
        """Number of runs that failed to converge without diverging."""
        return self.not_converged - self.diverged

    @property
    def all_failed(self) -> bool:
        """Whether runs are recorded and every one of them failed to converge."""
        return 0 < self.not_converged == self.planned - len(self.missing)

    @property
    def complete(self) -> bool:
        """Whether the run of every planned seed has finished."""
        return not self.missing and not self.diverged and not self.out_of_memory


def aggregate(plan: PlanRecord, runs: Sequence[RecordedRun]) -> list[CellSummary]:
    """Summarise each cell of the confirm phase, in the plan's order.

    Args:
        plan: plan of the sweep.
        runs: recorded runs that the plan names.

    Raises:
        RecordError: if two methods saw different noisy labels at one seed of a scenario, or runs
            were made under different revisions of the training code.
    """
    by_digest = {run.digest: run for run in runs}
    metrics = [*(reading.metric for reading in readings(plan)), *METRICS_WITHOUT_COLUMN]
    cells = [_summarise_cell(cell, by_digest, metrics) for cell in plan.cells]
    _check_paired(cells)
    _check_revisions(cells)
    return cells


def _summarise_cell(
    cell: CellRecord, runs: Mapping[str, RecordedRun], metrics: Sequence[str]
) -> CellSummary:
    # A stopped run may be continued, so that it is not a result yet.
    ended_runs = {
        seed: runs[digest]
        for seed, digest in zip(cell.seeds, cell.digests, strict=True)
        if digest in runs and runs[digest].status != "stopped"
    }
    finished = [run for run in ended_runs.values() if run.status == "finished"]
    statuses = [run.status for run in ended_runs.values()]
    flip_rates = _metric_values(ended_runs.values(), "flip_rate")
    return CellSummary(
        cell=cell,
        statistics={metric: Statistic.of(_metric_values(finished, metric)) for metric in metrics},
        diverged=statuses.count("diverged"),
        out_of_memory=statuses.count("out of memory"),
        not_converged=sum(not run.converged for run in ended_runs.values()),
        missing=tuple(seed for seed in cell.seeds if seed not in ended_runs),
        flip_rate=mean(flip_rates) if flip_rates else None,
        devices=frozenset(
            device
            for run in ended_runs.values()
            for device in run.provenance["device"].split(HISTORY_SEPARATOR)
        ),
        labels={seed: run.labels for seed, run in ended_runs.items()},
        revisions={seed: run.revision for seed, run in ended_runs.items()},
        changes={
            seed: text for seed, run in ended_runs.items() if (text := _describe_changes(run))
        },
    )


def _metric_values(runs: Iterable[RecordedRun], metric: str) -> list[float]:
    """Return the values of a metric, without the runs that lack it."""
    values = (run.metrics.get(metric, math.nan) for run in runs)
    return [value for value in values if not math.isnan(value)]


def _describe_changes(run: RecordedRun) -> str:
    """Describe what changed of a run's device and versions when it was continued; "" if nothing."""
    return "; ".join(
        f"{name} {run.provenance[name]}"
        for name in BIT_RELEVANT
        if HISTORY_SEPARATOR in run.provenance[name]
    )


def _check_paired(cells: Iterable[CellSummary]) -> None:
    """Raise `RecordError` if two methods saw different noisy labels at the same seed."""
    first_seen: dict[tuple[str, int], tuple[str, str]] = {}
    for summary in cells:
        for seed, labels in summary.labels.items():
            key = (summary.cell.scenario, seed)
            first_method, first_labels = first_seen.setdefault(key, (summary.cell.method, labels))
            if first_labels != labels:
                raise RecordError(
                    f"{summary.cell.scenario}, seed {seed}: {first_method} was trained on noisy "
                    f"labels {first_labels[:12]}, {summary.cell.method} on {labels[:12]}; methods "
                    "that saw different labels are not compared: train them again with one version"
                )


def _check_revisions(cells: Iterable[CellSummary]) -> None:
    """Raise `RecordError` if runs were made under different revisions of the training code."""
    revisions = sorted({revision for summary in cells for revision in summary.revisions.values()})
    if len(revisions) > 1:
        raise RecordError(
            f"runs of revisions {' and '.join(map(str, revisions))} of the training code are not "
            "compared: type the sweep's command again, which trains those of the older one anew"
        )
