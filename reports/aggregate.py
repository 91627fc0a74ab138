"""From runs to cells: mean, sample standard deviation, and what is missing."""

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
    """One way of reading a run's test accuracy.

    Attributes:
        metric: as recorded.
        title: as tables print it.
    """

    metric: str
    title: str


def readings(plan: PlanRecord) -> tuple[Reading, ...]:
    """Return all readings of a sweep's runs."""
    further = [Reading(metric, title) for metric, title in plan.further.items()]
    return (
        Reading(TEST_LAST, "last epoch"),
        Reading(TEST_MEAN_LAST, f"mean of {plan.averaged}"),
        Reading(TEST_BEST_VAL, "epoch chosen by noisy validation"),
        *further,
    )


OTHER_METRICS = (TEST_BEST_CLEAN_VAL,)
"""What only a published recipe may report; no column of its own."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """A number over seeds.

    Attributes:
        mean: over the runs that finished, a fraction; None where none did.
        std: sample standard deviation (ddof 1), a fraction; None for fewer than two runs.
        n: number of runs that finished.
    """

    mean: float | None
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic:
        """Take it over the values of the runs that finished."""
        return cls(
            mean=mean(values) if values else None,
            std=stdev(values) if len(values) >= 2 else None,
            n=len(values),
        )


@dataclass(frozen=True, slots=True)
class CellSummary:
    """A cell with what its runs gave.

    Attributes:
        cell: as planned.
        statistics: by metric of the readings that its runs have.
        diverged: number of runs that diverged.
        out_of_memory: number of runs whose device had too little memory.
        not_converged: number of runs that failed to converge, those that diverged included.
        missing: seeds whose run is not recorded.
        flip_rate: mean true flip rate over the recorded runs; None without any.
        devices: kinds of device that its runs ran on.
        labels: hash of the noisy labels, by seed.
        revisions: revision of the training code, by seed.
        moved: what runs were continued with after they had begun otherwise, by seed: "torch 2.6.0,
            then 2.7.0".
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
    moved: Mapping[int, str]

    @property
    def planned(self) -> int:
        """Number of seeds planned."""
        return len(self.cell.seeds)

    @property
    def stuck(self) -> int:
        """Number of runs that failed to converge without diverging."""
        return self.not_converged - self.diverged

    @property
    def hopeless(self) -> bool:
        """Tell whether every recorded run failed to converge."""
        return 0 < self.not_converged == self.planned - len(self.missing)

    @property
    def complete(self) -> bool:
        """Tell whether every planned seed finished."""
        return not self.missing and not self.diverged and not self.out_of_memory


def aggregate(plan: PlanRecord, runs: Sequence[RecordedRun]) -> list[CellSummary]:
    """Summarise each cell of the confirm phase, in the plan's order.

    Args:
        plan: of the sweep.
        runs: recorded runs that the plan names.

    Raises:
        RecordError: at one seed of a scenario two methods saw different noisy labels, or runs were
            made under different revisions of the training code.
    """
    by_digest = {run.digest: run for run in runs}
    metrics = [*(reading.metric for reading in readings(plan)), *OTHER_METRICS]
    cells = [_summarise(cell, by_digest, metrics) for cell in plan.cells]
    _check_paired(cells)
    _check_revisions(cells)
    return cells


def _summarise(
    cell: CellRecord, runs: Mapping[str, RecordedRun], metrics: Sequence[str]
) -> CellSummary:
    # A run that was stopped on its way, and may be continued, is no result.
    found = {
        seed: runs[digest]
        for seed, digest in zip(cell.seeds, cell.digests, strict=True)
        if digest in runs and runs[digest].status != "stopped"
    }
    finished = [run for run in found.values() if run.status == "finished"]
    statuses = [run.status for run in found.values()]
    flips = _numbers(found.values(), "flip_rate")
    return CellSummary(
        cell=cell,
        statistics={metric: Statistic.of(_numbers(finished, metric)) for metric in metrics},
        diverged=statuses.count("diverged"),
        out_of_memory=statuses.count("out of memory"),
        not_converged=sum(not run.converged for run in found.values()),
        missing=tuple(seed for seed in cell.seeds if seed not in found),
        flip_rate=mean(flips) if flips else None,
        devices=frozenset(
            device
            for run in found.values()
            for device in run.provenance["device"].split(HISTORY_SEPARATOR)
        ),
        labels={seed: run.labels for seed, run in found.items()},
        revisions={seed: run.revision for seed, run in found.items()},
        moved={seed: text for seed, run in found.items() if (text := _moved(run))},
    )


def _numbers(runs: Iterable[RecordedRun], metric: str) -> list[float]:
    """Return a metric of the runs that have it."""
    values = (run.metrics.get(metric, math.nan) for run in runs)
    return [value for value in values if not math.isnan(value)]


def _moved(run: RecordedRun) -> str:
    """Say what of a run's place and version changed when it was continued; "" if nothing."""
    return "; ".join(
        f"{name} {run.provenance[name]}"
        for name in BIT_RELEVANT
        if HISTORY_SEPARATOR in run.provenance[name]
    )


def _check_paired(cells: Iterable[CellSummary]) -> None:
    seen: dict[tuple[str, int], tuple[str, str]] = {}
    for summary in cells:
        for seed, labels in summary.labels.items():
            where = (summary.cell.scenario, seed)
            other, others = seen.setdefault(where, (summary.cell.method, labels))
            if others != labels:
                raise RecordError(
                    f"{summary.cell.scenario}, seed {seed}: {other} was trained on noisy labels "
                    f"{others[:12]}, {summary.cell.method} on {labels[:12]}; methods that saw "
                    "different labels are not compared: train them again with one version"
                )


def _check_revisions(cells: Iterable[CellSummary]) -> None:
    """Refuse to pool runs whose equal specs would not give equal bits."""
    seen = sorted({revision for summary in cells for revision in summary.revisions.values()})
    if len(seen) > 1:
        raise RecordError(
            f"runs of revisions {' and '.join(map(str, seen))} of the training code are not "
            "compared: type the sweep's command again, which trains those of the older one anew"
        )
