"""The comparison table of a sweep: methods by scenarios, with the accuracies of the NAL paper."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from reports.aggregate import AccuracyKind, CellSummary, accuracy_kinds, summarise_cells
from reports.notes import table_notes
from reports.paper import (
    NOT_CONVERGED,
    PAPER_METRICS,
    QUOTED_METHODS,
    PaperResult,
    find_paper_results,
    paper_noise_of,
)
from reports.table import Entry, Row, Section, Table
from reports.words import format_count, format_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun

RowKey = tuple[str, ...]
"""Key of a table row: method, "tuned" or "fixed", and for "fixed" the hyperparameter values."""

ColumnKey = tuple[str, str]
"""Key of a table column: scenario and metric."""


def comparison_table(plan: PlanRecord, runs: Sequence[RecordedRun]) -> Table:
    """Build the comparison table of a sweep from its plan and recorded runs.

    For one scenario, the table has a column for each kind of test accuracy, such as the accuracy
    in the last epoch. For several scenarios, the table has a column for each scenario and a section
    for each kind of accuracy.

    Args:
        plan: plan of the sweep.
        runs: recorded runs that the plan names.

    Raises:
        RecordError: if two methods were trained on different noisy labels at one seed of a
            scenario, or runs were made by different revisions of the training code.
    """
    cells = summarise_cells(plan, runs)
    scenario_titles = {summary.cell.scenario: summary.cell.scenario_title for summary in cells}
    kinds = _kinds_to_show(plan, cells)
    paper_results = _paper_results_by_method(plan, cells, list(scenario_titles))
    rows = _group_rows(cells)
    has_one_scenario = len(scenario_titles) == 1
    kinds_by_section = {"": kinds} if has_one_scenario else {kind.title: [kind] for kind in kinds}
    sections = [
        Section(
            title,
            _section_rows(
                rows, list(product(scenario_titles, section_kinds)), paper_results, kinds[0]
            ),
        )
        for title, section_kinds in kinds_by_section.items()
    ]
    return Table(
        title=plan.title,
        subtitle=_subtitle(plan, scenario_titles),
        columns=tuple(
            [kind.title for kind in kinds] if has_one_scenario else scenario_titles.values()
        ),
        sections=tuple(sections),
        notes=table_notes(plan, cells),
    )


def _kinds_to_show(plan: PlanRecord, cells: Sequence[CellSummary]) -> list[AccuracyKind]:
    """Return the kinds of accuracy to show: the headline, then the others that any run has."""
    headline, *others = sorted(accuracy_kinds(plan), key=lambda kind: kind.title != plan.headline)
    recorded_metrics = {
        metric
        for summary in cells
        for metric, statistic in summary.statistics.items()
        if statistic.n
    }
    return [headline, *(kind for kind in others if kind.metric in recorded_metrics)]


def _subtitle(plan: PlanRecord, scenario_titles: Mapping[str, str]) -> str:
    epoch_counts = {plan.scenario_epochs.get(name, plan.epochs) for name in scenario_titles}
    epochs = " or ".join(map(str, sorted(epoch_counts)))
    parts = [
        plan.dataset.title,
        plan.backbone,
        f"{epochs} epoch{'' if epoch_counts == {1} else 's'}",
    ]
    if len(scenario_titles) == 1:
        (title,) = scenario_titles.values()
        parts.append(f"{title} label noise" if title != "clean" else "clean labels")
    if plan.subset is not None:
        parts.append(f"trained on {plan.subset:,} of {plan.dataset.train_size:,} images")
    if plan.test_subset is not None:
        parts.append(f"tested on {plan.test_subset:,} of {plan.dataset.test_size:,} images")
    return ", ".join([*parts, "test accuracy in %"])


def _group_rows(cells: Sequence[CellSummary]) -> dict[RowKey, dict[str, CellSummary]]:
    """Group cells into table rows: the cells of each row, by scenario.

    A tuned cell whose values equal the published ones also appears in the row of the published
    values, which exists only if tuned and published values differ on some scenario.
    """
    rows: dict[RowKey, dict[str, CellSummary]] = {}
    for summary in cells:
        rows.setdefault(_row_key(summary.cell), {})[summary.cell.scenario] = summary
    for summary in cells:
        cell = summary.cell
        if cell.is_tuned and cell.has_reference_values and _fixed_row_key(cell) in rows:
            rows[_fixed_row_key(cell)][cell.scenario] = summary
    return rows


def _row_key(cell: CellRecord) -> RowKey:
    return (cell.method, "tuned") if cell.is_tuned else _fixed_row_key(cell)


def _fixed_row_key(cell: CellRecord) -> RowKey:
    return (cell.method, "fixed", format_values(cell.values))


def _section_rows(
    rows: Mapping[RowKey, Mapping[str, CellSummary]],
    columns: Sequence[tuple[str, AccuracyKind]],
    paper_results: Mapping[str, Mapping[ColumnKey, PaperResult]],
    headline: AccuracyKind,
) -> tuple[Row, ...]:
    """Return rows of measured accuracies, followed by rows of the paper's accuracies."""
    measured_rows = [
        Row(
            name=_row_name(list(cells.values())),
            marker=_row_marker(list(cells.values()), is_tuned=key[1] == "tuned"),
            kind="measured",
            entries=tuple(
                _measured_entry(cells.get(scenario), kind, is_headline=kind == headline)
                for scenario, kind in columns
            ),
        )
        for key, cells in rows.items()
    ]
    may_be_best = [
        [
            scenario in cells and cells[scenario].is_complete and not cells[scenario].all_failed
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
                _paper_entry(results.get((scenario, kind.metric)), scenario)
                for scenario, kind in columns
            ),
        )
        for method, results in paper_results.items()
        if any((scenario, kind.metric) in results for scenario, kind in columns)
    ]
    return (*_mark_best_entries(measured_rows, may_be_best), *paper_rows)


def _row_name(cells: Sequence[CellSummary]) -> str:
    """Return the name of a row: title of the method, and its values if all cells share them."""
    value_texts = {format_values(summary.cell.values) for summary in cells}
    title = cells[0].cell.method_title
    if len(value_texts) > 1:
        return f"{title}, values below"
    return ", ".join(filter(None, [title, *value_texts]))


def _row_marker(cells: Sequence[CellSummary], *, is_tuned: bool) -> str:
    """Return the origin of a row's hyperparameter values, such as "tuned (16 trials)"."""
    first_cell = cells[0].cell
    if first_cell.recipe:
        return f"fixed ({first_cell.source}), {first_cell.recipe}"
    if not is_tuned:
        return "varied" if first_cell.origin == "varied" else f"fixed ({first_cell.source})"
    suffix = " = reference" if all(summary.cell.has_reference_values for summary in cells) else ""
    return f"tuned ({format_count(first_cell.trials, 'trial')}){suffix}"


def _measured_entry(summary: CellSummary | None, kind: AccuracyKind, *, is_headline: bool) -> Entry:
    if summary is None:
        return Entry()
    # In the first column, a published recipe shows the accuracy that this recipe reports.
    recipe_metric = summary.cell.reading if is_headline else ""
    statistic = summary.statistics[recipe_metric or kind.metric]
    ended_count = summary.planned_count - len(summary.missing_seeds)
    counts_by_remark = {
        f"{ended_count} of {summary.planned_count} seeds": len(summary.missing_seeds),
        f"{summary.diverged_count} of {ended_count} diverged": summary.diverged_count,
        f"{summary.out_of_memory_count} out of memory": summary.out_of_memory_count,
        f"{summary.stagnated_count} of {ended_count} {NOT_CONVERGED}": summary.stagnated_count,
    }
    mean = None if statistic.mean is None else 100 * statistic.mean
    std = None if statistic.std is None else 100 * statistic.std
    return Entry(
        text=NOT_CONVERGED if summary.all_failed else _format_accuracy(mean, std),
        remark=", ".join(text for text, count in counts_by_remark.items() if count),
        mean=mean,
        std=std,
        n=statistic.n,
        diverged=summary.diverged_count,
    )


def _format_accuracy(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def _mark_best_entries(rows: Sequence[Row], may_be_best: Sequence[Sequence[bool]]) -> list[Row]:
    """Return copies of rows in which the best entry of each column is bold.

    A column in which fewer than two entries may be the best has no bold entry.

    Args:
        rows: rows of measured accuracies.
        may_be_best: whether each entry may be marked, by row and column.
    """
    entries = [list(row.entries) for row in rows]
    for column in range(len(rows[0].entries) if rows else 0):
        candidate_means = [
            (round(row[column].mean or 0.0, 2), row_index)
            for row_index, row in enumerate(entries)
            if may_be_best[row_index][column] and row[column].mean is not None
        ]
        if len(candidate_means) < 2:
            continue
        best_mean = max(candidate_means)[0]
        for mean, row_index in candidate_means:
            entry = entries[row_index][column]
            entries[row_index][column] = replace(entry, bold=mean == best_mean)
    return [
        replace(row, entries=tuple(row_entries))
        for row, row_entries in zip(rows, entries, strict=True)
    ]


def _paper_results_by_method(
    plan: PlanRecord, cells: Sequence[CellSummary], scenarios: Sequence[str]
) -> dict[str, dict[ColumnKey, PaperResult]]:
    """Return the NAL paper's accuracies for the methods of a sweep, by method and column."""
    methods = (*dict.fromkeys(summary.cell.method_title for summary in cells), *QUOTED_METHODS)
    results = [
        ((scenario, metric), result)
        for scenario, metric in product(scenarios, PAPER_METRICS)
        for result in find_paper_results(plan.dataset.title, scenario, plan.backbone, metric)
    ]
    # The paper's table of ablations repeats rows of Table 1; the first accuracy is kept.
    return {
        method: {column: result for column, result in reversed(results) if result.method == method}
        for method in methods
    }


def _paper_entry(result: PaperResult | None, scenario: str) -> Entry:
    if result is None:
        return Entry()
    if result.mean is None:
        return Entry(NOT_CONVERGED)
    noise = paper_noise_of(scenario)
    footnote_marks = "†" if noise and noise.includes_true_class else ""
    footnote_marks += "‡" if "pretrained" in result.backbone else ""
    return Entry(
        _format_accuracy(result.mean, result.std) + footnote_marks, mean=result.mean, std=result.std
    )
