"""Summaries of a sweep's runs over seeds: mean and standard deviation, failed and missing runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

from reports.variance import VarianceShares, shares_of_runs
from trainables.errors import RecordError
from trainables.run.metrics import (
    PEAK_MEMORY_MB,
    SECONDS_PER_EPOCH,
    TEST_BEST_CLEAN_VAL,
    TEST_BEST_VAL,
    TEST_LAST,
    TEST_MEAN_LAST,
    VAL_MEAN_LAST,
)
from trainables.run.result import BIT_RELEVANT_KEYS, HISTORY_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun


@dataclass(frozen=True, slots=True)
class AccuracyKind:
    """A kind of test accuracy that tables show, such as the accuracy in the last epoch.

    Attributes:
        metric: name of the recorded metric, such as "test/accuracy_last".
        title: title in tables, such as "last epoch".
        is_measured: whether the runs of sweeps record it; other kinds are only quoted.
    """

    metric: str
    title: str
    is_measured: bool = True


def accuracy_kinds(plan: PlanRecord) -> tuple[AccuracyKind, ...]:
    """Return the kinds of test accuracy that the table of a sweep can show."""
    dataset_kinds = [AccuracyKind(metric, title) for metric, title in plan.further.items()]
    return (
        AccuracyKind(TEST_LAST, READING_TITLES[TEST_LAST]),
        AccuracyKind(TEST_MEAN_LAST, f"mean of {plan.averaged_epochs}"),
        AccuracyKind(TEST_BEST_VAL, READING_TITLES[TEST_BEST_VAL]),
        *dataset_kinds,
    )


READING_TITLES = {
    TEST_LAST: "last epoch",
    TEST_BEST_VAL: "epoch chosen by noisy validation",
    TEST_BEST_CLEAN_VAL: "epoch chosen by clean validation",
}
"""Titles of the accuracies that a published recipe may report, by the name of the metric."""

HOURS = "hours"
"""Name of the wall time of a whole run, in hours, which is computed from that of an epoch."""

METRICS_WITHOUT_COLUMN = (TEST_BEST_CLEAN_VAL, VAL_MEAN_LAST)
"""Accuracies without a column of their own: of published recipes, and of the search's protocol."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """Mean and standard deviation of an accuracy over the seeds of a table entry.

    Attributes:
        mean: mean over the finished runs, in percent; None if no run has finished.
        std: sample standard deviation (ddof 1), in points; None for fewer than two finished runs.
        n: number of finished runs.
    """

    mean: float | None
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic:
        """Return the statistic of a metric from its values in the finished runs."""
        return cls(
            mean=mean(values) if values else None,
            std=stdev(values) if len(values) >= 2 else None,
            n=len(values),
        )


@dataclass(frozen=True, slots=True)
class CellSummary:
    """Summary over seeds of the recorded runs of a cell: one method, scenario and set of values.

    Attributes:
        cell: the planned cell.
        accuracies: accuracy of each finished run in percent, by seed, by the name of a metric that
            tables can show.
        statistics: mean and standard deviation of each of these metrics, by its name.
        costs: time and memory of each finished run that has recorded them, by seed, by the name of
            a number: `SECONDS_PER_EPOCH`, `HOURS` and `PEAK_MEMORY_MB`.
        diverged_count: number of runs that diverged.
        out_of_memory_seeds: seeds whose run failed because the device ran out of memory.
        not_converged_count: number of runs that failed to converge, including those that diverged.
        missing_seeds: seeds whose run has no recorded result.
        flip_rate: fraction of labels that differ from the true ones, mean over the recorded runs;
            None if the true labels are not known.
        devices: names of the devices that trained the runs.
        labels_sha256: SHA-256 of the noisy labels, by seed.
        revisions: revision of the training code that trained the run, by seed.
        variance: where the variation between runs comes from; None if the study does not ask for
            this, or not all runs that are needed have finished.
        commits: git commit of the training code that trained the run, by seed; "" if unknown.
        environment_changes: changes of device or version when a run was continued, such as "torch
            2.6.0, then 2.7.0", by seed; only seeds whose run has such a change.
    """

    cell: CellRecord
    accuracies: Mapping[str, Mapping[int, float]]
    statistics: Mapping[str, Statistic]
    costs: Mapping[str, Mapping[int, float]]
    diverged_count: int
    out_of_memory_seeds: tuple[int, ...]
    not_converged_count: int
    missing_seeds: tuple[int, ...]
    flip_rate: float | None
    devices: frozenset[str]
    labels_sha256: Mapping[int, str]
    revisions: Mapping[int, int]
    variance: VarianceShares | None
    commits: Mapping[int, str]
    environment_changes: Mapping[int, str]

    @property
    def planned_count(self) -> int:
        """Number of planned runs, one for each seed."""
        return len(self.cell.seeds)

    @property
    def out_of_memory_count(self) -> int:
        """Number of runs that failed because the device ran out of memory."""
        return len(self.out_of_memory_seeds)

    @property
    def stagnated_count(self) -> int:
        """Number of runs that failed to converge, but did not diverge."""
        return self.not_converged_count - self.diverged_count

    @property
    def all_failed(self) -> bool:
        """Whether runs are recorded and every one of them failed to converge."""
        return 0 < self.not_converged_count == self.planned_count - len(self.missing_seeds)

    @property
    def is_complete(self) -> bool:
        """Whether the runs of all planned seeds have finished."""
        return not self.missing_seeds and not self.diverged_count and not self.out_of_memory_count


def summarise_cells(plan: PlanRecord, runs: Sequence[RecordedRun]) -> list[CellSummary]:
    """Summarise the recorded runs of each cell over seeds, in the order of the plan.

    Args:
        plan: plan of the sweep, whose cells are the entries of its table.
        runs: recorded runs that the plan names.

    Raises:
        RecordError: if two methods were trained on different noisy labels at one seed of a
            scenario, or runs were made by different revisions of the training code.
    """
    runs_by_digest = {run.digest: run for run in runs}
    metrics = [*(kind.metric for kind in accuracy_kinds(plan)), *METRICS_WITHOUT_COLUMN]
    cells = [summarise_cell(cell, runs_by_digest, metrics) for cell in plan.cells]
    _check_same_labels(cells)
    _check_same_revision(cells)
    return cells


def summarise_unrecorded(cells: Iterable[CellRecord]) -> list[CellSummary]:
    """Summarise planned cells of which no run is recorded; they have no statistics."""
    return [summarise_cell(cell, {}, ()) for cell in cells]


def summarise_cell(
    cell: CellRecord, runs: Mapping[str, RecordedRun], metrics: Sequence[str]
) -> CellSummary:
    """Summarise the recorded runs of a cell over seeds.

    Args:
        cell: cell to summarise.
        runs: recorded runs by digest, among them those of the cell.
        metrics: names of the metrics to summarise.
    """
    # A stopped run has no result yet: the sweep continues it.
    ended_runs = {
        seed: runs[digest]
        for seed, digest in zip(cell.seeds, cell.digests, strict=True)
        if digest in runs and runs[digest].status != "stopped"
    }
    finished_runs = {seed: run for seed, run in ended_runs.items() if run.status == "finished"}
    accuracies = {
        metric: {seed: 100 * value for seed, value in _metric_values(finished_runs, metric).items()}
        for metric in metrics
    }
    statuses = [run.status for run in ended_runs.values()]
    seconds = _metric_values(finished_runs, SECONDS_PER_EPOCH)
    flip_rates = _metric_values(ended_runs, "flip_rate").values()
    return CellSummary(
        cell=cell,
        accuracies=accuracies,
        statistics={
            metric: Statistic.of(list(values.values())) for metric, values in accuracies.items()
        },
        costs={
            SECONDS_PER_EPOCH: seconds,
            HOURS: {
                seed: value * finished_runs[seed].epochs / 3600
                for seed, value in seconds.items()
                if finished_runs[seed].epochs
            },
            PEAK_MEMORY_MB: _metric_values(finished_runs, PEAK_MEMORY_MB),
        },
        diverged_count=statuses.count("diverged"),
        out_of_memory_seeds=tuple(
            seed for seed, run in ended_runs.items() if run.status == "out of memory"
        ),
        not_converged_count=sum(not run.converged for run in ended_runs.values()),
        missing_seeds=tuple(seed for seed in cell.seeds if seed not in ended_runs),
        flip_rate=mean(flip_rates) if flip_rates else None,
        devices=frozenset(
            device
            for run in ended_runs.values()
            for device in run.provenance["device"].split(HISTORY_SEPARATOR)
        ),
        labels_sha256={seed: run.labels_sha256 for seed, run in ended_runs.items()},
        revisions={seed: run.revision for seed, run in ended_runs.items()},
        variance=shares_of_runs(cell.crossed, runs) if cell.crossed else None,
        commits={seed: run.commit for seed, run in ended_runs.items()},
        environment_changes={
            seed: text for seed, run in ended_runs.items() if (text := _describe_changes(run))
        },
    )


def _metric_values(runs: Mapping[int, RecordedRun], metric: str) -> dict[int, float]:
    """Return the values of a metric in the runs that have recorded the metric, by seed."""
    values = {seed: run.metrics.get(metric, math.nan) for seed, run in runs.items()}
    return {seed: value for seed, value in values.items() if not math.isnan(value)}


def _describe_changes(run: RecordedRun) -> str:
    """Describe changes of device or version when a run was continued; "" for none."""
    return "; ".join(
        f"{name} {run.provenance[name]}"
        for name in BIT_RELEVANT_KEYS
        if HISTORY_SEPARATOR in run.provenance[name]
    )


def _check_same_labels(cells: Iterable[CellSummary]) -> None:
    """Raise `RecordError` if two methods were trained on different noisy labels at one seed."""
    first_by_scenario_and_seed: dict[tuple[str, int], tuple[str, str]] = {}
    for summary in cells:
        for seed, sha256 in summary.labels_sha256.items():
            key = (summary.cell.scenario, seed)
            first_method, first_sha256 = first_by_scenario_and_seed.setdefault(
                key, (summary.cell.method, sha256)
            )
            if first_sha256 != sha256:
                raise RecordError(
                    f"{summary.cell.scenario}, seed {seed}: {first_method} was trained on noisy "
                    f"labels {first_sha256[:12]}, {summary.cell.method} on {sha256[:12]}; methods "
                    "trained on different labels cannot be compared: train both again with the "
                    "same library versions"
                )


def _check_same_revision(cells: Iterable[CellSummary]) -> None:
    """Raise `RecordError` if runs were made by different revisions of the training code."""
    revisions = sorted({revision for summary in cells for revision in summary.revisions.values()})
    if len(revisions) > 1:
        raise RecordError(
            f"runs made by revisions {' and '.join(map(str, revisions))} of the training code "
            "cannot be compared: run the sweep's command again, which repeats the runs of the "
            "older revision"
        )
