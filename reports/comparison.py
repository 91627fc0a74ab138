"""The table of a sweep: methods by scenarios, with the paper's own numbers beside."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from reports.aggregate import CellSummary, Reading, aggregate, readings
from reports.notes import notes_of
from reports.paper import METRICS, NOT_CONVERGED, UNTRAINED, PaperResult, lookup, setting_of
from reports.table import Entry, Row, Section, Table
from reports.words import format_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun

RowKey = tuple[str, ...]
Place = tuple[str, str]
"""A scenario and a metric."""


def comparison_table(plan: PlanRecord, runs: Sequence[RecordedRun]) -> Table:
    """Make the table of a sweep from its plan and its recorded runs.

    One scenario: a column per reading. Several: a column per scenario, a section per reading.

    Args:
        plan: of the sweep.
        runs: recorded runs that the plan names.

    Raises:
        RecordError: at one seed of a scenario two methods saw different noisy labels.
    """
    cells = aggregate(plan, runs)
    scenarios = {summary.cell.scenario: summary.cell.scenario_title for summary in cells}
    taken = _readings(plan, cells)
    quoted = _quoted(plan, cells, list(scenarios))
    rows = _rows_of(cells)
    alone = len(scenarios) == 1
    groups = {"": taken} if alone else {reading.title: [reading] for reading in taken}
    sections = [
        Section(title, _section(rows, list(product(scenarios, shown)), quoted, taken[0]))
        for title, shown in groups.items()
    ]
    return Table(
        title=plan.title,
        subtitle=_subtitle(plan, scenarios),
        columns=tuple(reading.title for reading in taken) if alone else tuple(scenarios.values()),
        sections=tuple(sections),
        notes=notes_of(plan, cells),
    )


def _readings(plan: PlanRecord, cells: Sequence[CellSummary]) -> list[Reading]:
    """Return the readings that any run has, the headline first and always."""
    first, *others = sorted(readings(plan), key=lambda r: r.title != plan.headline)
    present = {metric for cell in cells for metric, s in cell.statistics.items() if s.n}
    return [first, *(reading for reading in others if reading.metric in present)]


def _subtitle(plan: PlanRecord, titles: Mapping[str, str]) -> str:
    lengths = {plan.scenario_epochs.get(name, plan.epochs) for name in titles}
    epochs = " or ".join(map(str, sorted(lengths)))
    parts = [plan.dataset.title, plan.backbone, f"{epochs} epochs"]
    if len(titles) == 1:
        (title,) = titles.values()
        parts.append(f"{title} label noise" if title != "clean" else "clean labels")
    if plan.subset is not None:
        parts.append(f"trained on {plan.subset:,} of {plan.dataset.train_size:,} images")
    return ", ".join([*parts, "test accuracy in %"])


def _rows_of(cells: Sequence[CellSummary]) -> dict[RowKey, dict[str, CellSummary]]:
    """Gather cells into rows by method and origin; one that is both stands in both rows.

    A row of its own is made for the reference only if some scenario's tuned point is not it.
    """
    rows: dict[RowKey, dict[str, CellSummary]] = {}
    for summary in cells:
        rows.setdefault(_key(summary.cell), {})[summary.cell.scenario] = summary
    for summary in cells:
        cell = summary.cell
        if cell.tuned and cell.reference and _reference_key(cell) in rows:
            rows[_reference_key(cell)][cell.scenario] = summary
    return rows


def _key(cell: CellRecord) -> RowKey:
    return (cell.method, "tuned") if cell.tuned else _reference_key(cell)


def _reference_key(cell: CellRecord) -> RowKey:
    return (cell.method, "fixed", format_values(cell.values))


def _section(
    rows: Mapping[RowKey, Mapping[str, CellSummary]],
    places: Sequence[tuple[str, Reading]],
    quoted: Mapping[str, Mapping[Place, PaperResult]],
    headline: Reading,
) -> tuple[Row, ...]:
    measured = [
        Row(
            name=_name(list(cells.values())),
            marker=_marker(list(cells.values()), tuned=key[1] == "tuned"),
            kind="measured",
            entries=tuple(
                _entry(cells.get(scenario), r, headline=r == headline) for scenario, r in places
            ),
        )
        for key, cells in rows.items()
    ]
    whole = [
        [
            scenario in cells and cells[scenario].complete and not cells[scenario].hopeless
            for scenario, _ in places
        ]
        for cells in rows.values()
    ]
    paper = [
        Row(
            name=method,
            marker="paper",
            kind="quoted",
            entries=tuple(
                _quote(results.get((scenario, reading.metric)), scenario)
                for scenario, reading in places
            ),
        )
        for method, results in quoted.items()
        if any((scenario, reading.metric) in results for scenario, reading in places)
    ]
    return (*_with_bold(measured, whole), *paper)


def _name(cells: Sequence[CellSummary]) -> str:
    points = {format_values(summary.cell.values) for summary in cells}
    title = cells[0].cell.method_title
    if len(points) > 1:
        return f"{title}, values below"
    return ", ".join(filter(None, [title, *points]))


def _marker(cells: Sequence[CellSummary], *, tuned: bool) -> str:
    first = cells[0].cell
    if first.recipe:
        return f"fixed ({first.source}), {first.recipe}"
    if not tuned:
        return "varied" if first.origin == "varied" else f"fixed ({first.source})"
    equal = " = reference" if all(summary.cell.reference for summary in cells) else ""
    return f"tuned ({first.trials} trials){equal}"


def _entry(summary: CellSummary | None, reading: Reading, *, headline: bool) -> Entry:
    if summary is None:
        return Entry()
    own = summary.cell.reading if headline else ""
    statistic = summary.statistics[own or reading.metric]
    ended = summary.planned - len(summary.missing)
    remarks = {
        f"{ended} of {summary.planned} seeds": len(summary.missing),
        f"{summary.diverged} of {ended} diverged": summary.diverged,
        f"{summary.out_of_memory} out of memory": summary.out_of_memory,
        f"{summary.stuck} of {ended} {NOT_CONVERGED}": summary.stuck,
    }
    mean = None if statistic.mean is None else 100 * statistic.mean
    std = None if statistic.std is None else 100 * statistic.std
    return Entry(
        text=NOT_CONVERGED if summary.hopeless else _number(mean, std),
        remark=", ".join(text for text, count in remarks.items() if count),
        mean=mean,
        std=std,
        n=statistic.n,
        diverged=summary.diverged,
    )


def _number(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def _with_bold(rows: Sequence[Row], whole: Sequence[Sequence[bool]]) -> list[Row]:
    """Set the best of each column in bold, where at least two whole cells compete."""
    entries = [list(row.entries) for row in rows]
    for column in range(len(rows[0].entries) if rows else 0):
        competing = [
            (round(row[column].mean or 0.0, 2), index)
            for index, row in enumerate(entries)
            if whole[index][column] and row[column].mean is not None
        ]
        if len(competing) < 2:
            continue
        best = max(competing)[0]
        for mean, index in competing:
            entries[index][column] = replace(entries[index][column], bold=mean == best)
    return [replace(row, entries=tuple(new)) for row, new in zip(rows, entries, strict=True)]


def _quoted(
    plan: PlanRecord, cells: Sequence[CellSummary], scenarios: Sequence[str]
) -> dict[str, dict[Place, PaperResult]]:
    """Return the paper's numbers for the sweep's methods, by method, scenario and metric."""
    methods = (*dict.fromkeys(summary.cell.method_title for summary in cells), *UNTRAINED)
    results = [
        ((scenario, metric), result)
        for scenario, metric in product(scenarios, METRICS)
        for result in lookup(plan.dataset.title, scenario, plan.backbone, metric)
    ]
    # The ablations' table repeats rows of the first: each place's first number is shown.
    return {
        method: {place: result for place, result in reversed(results) if result.method == method}
        for method in methods
    }


def _quote(result: PaperResult | None, scenario: str) -> Entry:
    if result is None:
        return Entry()
    if result.mean is None:
        return Entry(NOT_CONVERGED)
    setting = setting_of(scenario)
    other = "†" if setting and setting.including else ""
    other += "‡" if "pretrained" in result.backbone else ""
    return Entry(_number(result.mean, result.std) + other, mean=result.mean, std=result.std)
