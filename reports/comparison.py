"""The table of a sweep: methods by scenarios, followed by the paper's own numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from reports.aggregate import CellSummary, Reading, aggregate, readings
from reports.notes import table_notes
from reports.paper import (
    METRICS,
    NOT_CONVERGED,
    QUOTED_METHODS,
    PaperResult,
    find_paper_results,
    paper_setting_of,
)
from reports.table import Entry, Row, Section, Table
from reports.words import format_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun

RowKey = tuple[str, ...]
"""Key of a table row: method, "tuned" or "fixed", and the values unless a search chose them."""

ColumnKey = tuple[str, str]
"""Scenario and metric of a column."""


def comparison_table(plan: PlanRecord, runs: Sequence[RecordedRun]) -> Table:
    """Return the table of a sweep.

    With one scenario, the table has a column for each kind of test accuracy (see `Reading`). With
    several, it has a column for each scenario and a section for each kind.

    Args:
        plan: plan of the sweep.
        runs: recorded runs that the plan names.

    Raises:
        RecordError: if two methods saw different noisy labels at one seed of a scenario, or runs
            were made under different revisions of the training code.
    """
    cells = aggregate(plan, runs)
    scenarios = {summary.cell.scenario: summary.cell.scenario_title for summary in cells}
    table_readings = _table_readings(plan, cells)
    paper = _paper_results(plan, cells, list(scenarios))
    rows = _group_rows(cells)
    has_one_scenario = len(scenarios) == 1
    groups = (
        {"": table_readings}
        if has_one_scenario
        else {reading.title: [reading] for reading in table_readings}
    )
    sections = [
        Section(
            title, _section_rows(rows, list(product(scenarios, group)), paper, table_readings[0])
        )
        for title, group in groups.items()
    ]
    titles = [reading.title for reading in table_readings]
    return Table(
        title=plan.title,
        subtitle=_subtitle(plan, scenarios),
        columns=tuple(titles if has_one_scenario else scenarios.values()),
        sections=tuple(sections),
        notes=table_notes(plan, cells),
    )


def _table_readings(plan: PlanRecord, cells: Sequence[CellSummary]) -> list[Reading]:
    """Return the accuracies to show: the headline first, then those that at least one run has."""
    first_cell, *others = sorted(readings(plan), key=lambda reading: reading.title != plan.headline)
    present = {metric for cell in cells for metric, s in cell.statistics.items() if s.n}
    return [first_cell, *(reading for reading in others if reading.metric in present)]


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


def _group_rows(cells: Sequence[CellSummary]) -> dict[RowKey, dict[str, CellSummary]]:
    """Return the cells of each row by scenario.

    A tuned cell whose values equal the reference also appears in the row of the reference. That
    row exists only if the tuned values differ from the reference on some scenario.
    """
    rows: dict[RowKey, dict[str, CellSummary]] = {}
    for summary in cells:
        rows.setdefault(_row_key(summary.cell), {})[summary.cell.scenario] = summary
    for summary in cells:
        cell = summary.cell
        if cell.tuned and cell.reference and _fixed_row_key(cell) in rows:
            rows[_fixed_row_key(cell)][cell.scenario] = summary
    return rows


def _row_key(cell: CellRecord) -> RowKey:
    return (cell.method, "tuned") if cell.tuned else _fixed_row_key(cell)


def _fixed_row_key(cell: CellRecord) -> RowKey:
    return (cell.method, "fixed", format_values(cell.values))


def _section_rows(
    rows: Mapping[RowKey, Mapping[str, CellSummary]],
    columns: Sequence[tuple[str, Reading]],
    paper: Mapping[str, Mapping[ColumnKey, PaperResult]],
    headline: Reading,
) -> tuple[Row, ...]:
    """Return the rows of measured accuracies, followed by rows of the paper's numbers."""
    measured_rows = [
        Row(
            name=_row_name(list(cells.values())),
            marker=_row_marker(list(cells.values()), tuned=key[1] == "tuned"),
            kind="measured",
            entries=tuple(
                _measured_entry(cells.get(scenario), reading, headline=reading == headline)
                for scenario, reading in columns
            ),
        )
        for key, cells in rows.items()
    ]
    may_be_best = [
        [
            scenario in cells and cells[scenario].complete and not cells[scenario].all_failed
            for scenario, _ in columns
        ]
        for cells in rows.values()
    ]
    paper_rows = [
        Row(
            name=method,
            marker="paper",
            kind="quoted",
            entries=tuple(
                _paper_entry(results.get((scenario, reading.metric)), scenario)
                for scenario, reading in columns
            ),
        )
        for method, results in paper.items()
        if any((scenario, reading.metric) in results for scenario, reading in columns)
    ]
    return (*_with_bold(measured_rows, may_be_best), *paper_rows)


def _row_name(cells: Sequence[CellSummary]) -> str:
    """Return the name of a row: the method's title with its values, unless they differ."""
    value_texts = {format_values(summary.cell.values) for summary in cells}
    title = cells[0].cell.method_title
    if len(value_texts) > 1:
        return f"{title}, values below"
    return ", ".join(filter(None, [title, *value_texts]))


def _row_marker(cells: Sequence[CellSummary], *, tuned: bool) -> str:
    """Return the text beside a row's name that describes the origin of its values."""
    first_cell = cells[0].cell
    if first_cell.recipe:
        return f"fixed ({first_cell.source}), {first_cell.recipe}"
    if not tuned:
        return "varied" if first_cell.origin == "varied" else f"fixed ({first_cell.source})"
    equal = " = reference" if all(summary.cell.reference for summary in cells) else ""
    return f"tuned ({first_cell.trials} trials){equal}"


def _measured_entry(summary: CellSummary | None, reading: Reading, *, headline: bool) -> Entry:
    if summary is None:
        return Entry()
    # A published recipe reports a number of its own in the headline's column.
    own_metric = summary.cell.reading if headline else ""
    statistic = summary.statistics[own_metric or reading.metric]
    ended = summary.planned - len(summary.missing)
    remarks = {
        f"{ended} of {summary.planned} seeds": len(summary.missing),
        f"{summary.diverged} of {ended} diverged": summary.diverged,
        f"{summary.out_of_memory} out of memory": summary.out_of_memory,
        f"{summary.stagnated} of {ended} {NOT_CONVERGED}": summary.stagnated,
    }
    mean = None if statistic.mean is None else 100 * statistic.mean
    std = None if statistic.std is None else 100 * statistic.std
    return Entry(
        text=NOT_CONVERGED if summary.all_failed else _format_accuracy(mean, std),
        remark=", ".join(text for text, count in remarks.items() if count),
        mean=mean,
        std=std,
        n=statistic.n,
        diverged=summary.diverged,
    )


def _format_accuracy(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def _with_bold(rows: Sequence[Row], may_be_best: Sequence[Sequence[bool]]) -> list[Row]:
    """Return rows with the best entry of each column in bold.

    A column with fewer than two competing entries has none in bold.

    Args:
        rows: rows of measured numbers.
        may_be_best: whether each entry competes, by row and column.
    """
    entries = [list(row.entries) for row in rows]
    for column in range(len(rows[0].entries) if rows else 0):
        competing = [
            (round(row[column].mean or 0.0, 2), index)
            for index, row in enumerate(entries)
            if may_be_best[index][column] and row[column].mean is not None
        ]
        if len(competing) < 2:
            continue
        best = max(competing)[0]
        for mean, index in competing:
            entries[index][column] = replace(entries[index][column], bold=mean == best)
    return [replace(row, entries=tuple(new)) for row, new in zip(rows, entries, strict=True)]


def _paper_results(
    plan: PlanRecord, cells: Sequence[CellSummary], scenarios: Sequence[str]
) -> dict[str, dict[ColumnKey, PaperResult]]:
    """Return the paper's numbers for the sweep's methods, by method and column."""
    methods = (*dict.fromkeys(summary.cell.method_title for summary in cells), *QUOTED_METHODS)
    results = [
        ((scenario, metric), result)
        for scenario, metric in product(scenarios, METRICS)
        for result in find_paper_results(plan.dataset.title, scenario, plan.backbone, metric)
    ]
    # The table of ablations repeats rows of Table 1: the first number for a column is shown.
    return {
        method: {column: result for column, result in reversed(results) if result.method == method}
        for method in methods
    }


def _paper_entry(result: PaperResult | None, scenario: str) -> Entry:
    if result is None:
        return Entry()
    if result.mean is None:
        return Entry(NOT_CONVERGED)
    setting = paper_setting_of(scenario)
    marks = "†" if setting and setting.including else ""
    marks += "‡" if "pretrained" in result.backbone else ""
    return Entry(
        _format_accuracy(result.mean, result.std) + marks, mean=result.mean, std=result.std
    )
