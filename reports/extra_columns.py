"""Columns beside the accuracies that a reader may ask for: time, memory and tuned values."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from reports.aggregate import HOURS, Statistic
from reports.table import Entry, SeedAccuracy
from trainables.errors import UserError
from trainables.run.metrics import PEAK_MEMORY_MB, SECONDS_PER_EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.aggregate import CellSummary


class ExtraColumn(StrEnum):
    """A column that a table shows on request."""

    SECONDS = "seconds"
    HOURS = "hours"
    MEMORY = "memory"
    VALUES = "values"


_METRICS = {
    ExtraColumn.SECONDS: (SECONDS_PER_EPOCH, "s"),
    ExtraColumn.HOURS: (HOURS, "h"),
    ExtraColumn.MEMORY: (PEAK_MEMORY_MB, "MB"),
}
"""Name of the measured number and its unit, by column."""

_MIXED_HOURS = "hours per run"
"""Heading of the hours of runs of which only some were on a GPU."""

_CPU_PREFIX = "cpu"
"""Beginning of the name of a device that is no GPU."""


def parse_extra_columns(text: str) -> tuple[ExtraColumn, ...]:
    """Return the columns that a list separated by commas names, such as "seconds,values".

    Raises:
        UserError: if there is no such column.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in list(ExtraColumn):
            raise UserError(
                f"--columns: there is no column '{name}'; name one or more of "
                f"{', '.join(ExtraColumn)}, separated by commas"
            )
    return tuple(map(ExtraColumn, names))


def column_title(column: ExtraColumn, cells: Sequence[CellSummary]) -> str:
    """Return the heading of a column; hours are GPU-hours only if all runs were on GPUs.

    Args:
        column: column.
        cells: summaries of all cells of the table.
    """
    if column is ExtraColumn.HOURS:
        are_cpus = {device.startswith(_CPU_PREFIX) for each in cells for device in each.devices}
        kind = {frozenset({True}): "CPU-hours per run", frozenset({False}): "GPU-hours per run"}
        return kind.get(frozenset(are_cpus), _MIXED_HOURS)
    return {
        ExtraColumn.SECONDS: "seconds per epoch",
        ExtraColumn.MEMORY: "peak memory, MB",
        ExtraColumn.VALUES: "values",
    }[column]


def extra_entry(summary: CellSummary | None, column: ExtraColumn, title: str) -> Entry:
    """Return the entry of a cell in a column.

    Args:
        summary: summary of the cell; None for an empty entry.
        column: column.
        title: heading of the column.
    """
    if summary is None:
        return Entry()
    cell = summary.cell
    if column is ExtraColumn.VALUES:
        return Entry(cell.scenario, title, unit="", values=tuple(cell.values.items()))
    metric, unit = _METRICS[column]
    by_seed = summary.costs[metric]
    statistic = Statistic.of(list(by_seed.values()))
    digests = dict(zip(cell.seeds, cell.digests, strict=True))
    is_on_cpu = any(device.startswith(_CPU_PREFIX) for device in summary.devices)
    return Entry(
        cell.scenario,
        title,
        remark="on the CPU" if title == _MIXED_HOURS and is_on_cpu else "",
        mean=statistic.mean,
        std=statistic.std,
        n=statistic.n,
        runs=tuple(SeedAccuracy(seed, value, digests[seed]) for seed, value in by_seed.items()),
        unit=unit,
    )


def extra_columns_notes(columns: Sequence[ExtraColumn]) -> Iterator[str]:
    """Yield notes on what the numbers of the requested columns are."""
    if {ExtraColumn.SECONDS, ExtraColumn.HOURS} & set(columns):
        yield (
            "Times are wall times of one run, mean over the finished seeds, without the search and "
            "without other runs that a run needs; runs that share a machine slow each other down."
        )
    if ExtraColumn.MEMORY in columns:
        yield (
            "Peak memory, mean over the finished seeds, is that of the device on a GPU and that of "
            "the process on a CPU (1 MB = 1,000,000 bytes)."
        )
