"""The comparison table of a sweep: methods by scenarios, with the accuracies of the NAL paper."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from reports.aggregate import (
    READING_TITLES,
    AccuracyKind,
    CellSummary,
    Statistic,
    accuracy_kinds,
    summarise_cells,
)
from reports.extra_columns import (
    ExtraColumn,
    column_title,
    extra_columns_notes,
    extra_entry,
)
from reports.notes import table_notes
from reports.optimism import search_optimism
from reports.paired import LEVEL, compare_paired, correct_by_holm
from reports.paper import OTHER_NOISE, is_other_noise, paper_noise_of
from reports.quoted import find_quoted_results
from reports.spread import Spread
from reports.table import NOT_CONVERGED, Entry, Row, Section, SeedAccuracy, Table, TableSource
from reports.words import format_count, format_values
from trainables.run.metrics import TEST_LAST, TEST_MEAN_LAST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.plan_record import CellRecord, PlanRecord
    from reports.quoted import PublishedAccuracy, QuotedResults
    from reports.read import RecordedRun

CLEAN_TITLE = "clean"
"""Title of the scenario without label noise."""

RowKey = tuple[str, ...]
"""Key of a table row: method, "tuned" or "fixed", and for "fixed" the hyperparameter values."""

Column = tuple[str, AccuracyKind]
"""Column of a table: scenario and kind of accuracy."""


def comparison_table(
    plan: PlanRecord,
    runs: Sequence[RecordedRun],
    spread: Spread = Spread.SD,
    extra_columns: Sequence[ExtraColumn] = (),
) -> Table:
    """Build the comparison table of a sweep from its plan and recorded runs.

    For one scenario, the table has a column for each kind of test accuracy, such as the accuracy
    in the last epoch. For several scenarios, the table has a column for each scenario and a section
    for each kind of accuracy. Extra columns are further columns, or sections.

    Args:
        plan: plan of the sweep.
        runs: recorded runs that the plan names.
        spread: what is printed after ± of measured accuracies.
        extra_columns: time, memory or values to show beside the accuracies.

    Raises:
        RecordError: if two methods were trained on different noisy labels at one seed of a
            scenario, or runs were made by different revisions of the training code.
    """
    cells = summarise_cells(plan, runs)
    scenario_titles = {summary.cell.scenario: summary.cell.scenario_title for summary in cells}
    quoted = find_quoted_results(plan, cells)
    optimism = search_optimism(plan, cells, runs)
    own_kinds = measured_kinds(plan, cells)
    kinds = [*own_kinds, *_quoted_kinds(quoted, own_kinds)]
    rows = _group_rows(cells)
    has_one_scenario = len(scenario_titles) == 1
    kinds_by_section = {"": kinds} if has_one_scenario else {kind.title: [kind] for kind in kinds}
    sections = [
        Section(
            title,
            _section_rows(
                rows, list(product(scenario_titles, section_kinds)), quoted, kinds[0], spread
            ),
        )
        for title, section_kinds in kinds_by_section.items()
    ]
    extras = {column_title(each, cells): each for each in extra_columns}
    sections = _add_extra_columns(sections, rows, list(scenario_titles), extras)
    return Table(
        source=TableSource(plan.study, plan.sweep, plan.state, plan.dataset.title, plan.backbone),
        title=_title(plan, scenario_titles),
        subtitle=_subtitle(plan, scenario_titles),
        columns=tuple(
            [*(kind.title for kind in kinds), *extras]
            if has_one_scenario
            else scenario_titles.values()
        ),
        sections=tuple(sections),
        notes=(
            *table_notes(plan, cells, quoted, optimism, spread),
            *extra_columns_notes(extra_columns),
        ),
        spread=spread,
        optimism=optimism,
    )


def _add_extra_columns(
    sections: Sequence[Section],
    rows: Mapping[RowKey, Mapping[str, CellSummary]],
    scenarios: Sequence[str],
    extras: Mapping[str, ExtraColumn],
) -> list[Section]:
    """Return sections with extra columns, or followed by a section for each extra column.

    Args:
        sections: sections of accuracies.
        rows: cells of each row, by scenario.
        scenarios: names of the scenarios; with a single one, extra columns are columns.
        extras: extra columns by their headings.
    """
    named_rows = [
        (
            Row(
                key[0],
                row_name(cells),
                row_marker(cells, is_tuned=key[1] == "tuned"),
                "measured",
                (),
            ),
            by_scenario,
        )
        for key, by_scenario in rows.items()
        for cells in [list(by_scenario.values())]
    ]
    if len(scenarios) > 1:
        return [
            *sections,
            *(
                Section(
                    title,
                    tuple(
                        replace(
                            row,
                            entries=tuple(
                                extra_entry(cells.get(name), extra, title) for name in scenarios
                            ),
                        )
                        for row, cells in named_rows
                    ),
                )
                for title, extra in extras.items()
            ),
        ]
    cells_by_row = {(row.name, row.marker): cells for row, cells in named_rows}
    empty: Mapping[str, CellSummary] = {}
    return [
        replace(
            section,
            rows=tuple(
                replace(
                    row,
                    entries=(
                        *row.entries,
                        *(
                            extra_entry(
                                cells_by_row.get((row.name, row.marker), empty).get(name),
                                extra,
                                title,
                            )
                            for name in scenarios
                            for title, extra in extras.items()
                        ),
                    ),
                )
                for row in section.rows
            ),
        )
        for section in sections
    ]


def measured_kinds(plan: PlanRecord, cells: Sequence[CellSummary]) -> list[AccuracyKind]:
    """Return the kinds of accuracy to show: the headline, then the others that any run has.

    A mean over one epoch is left out if it is the accuracy of the last epoch under another name.
    """
    headline, *others = sorted(accuracy_kinds(plan), key=lambda kind: kind.title != plan.headline)
    recorded_metrics = {
        metric
        for summary in cells
        for metric, statistic in summary.statistics.items()
        if statistic.n
    }
    if plan.averages_one_epoch and all(
        summary.accuracies[TEST_MEAN_LAST] == summary.accuracies[TEST_LAST] for summary in cells
    ):
        recorded_metrics.discard(TEST_MEAN_LAST)
    return [headline, *(kind for kind in others if kind.metric in recorded_metrics)]


def _quoted_kinds(
    quoted: QuotedResults, measured_kinds: Sequence[AccuracyKind]
) -> list[AccuracyKind]:
    """Return the kinds of quoted accuracies that the measured columns do not show.

    A published accuracy stands only in the column of the epoch that it is known to be from.
    """
    measured_metrics = {kind.metric for kind in measured_kinds}
    titles = {
        metric: title
        for result in quoted.all_results
        if not measured_metrics & result.titles_by_metric.keys()
        for metric, title in list(result.titles_by_metric.items())[:1]
    }
    return [
        AccuracyKind(metric, f"published: {title}", is_measured=False)
        for metric, title in titles.items()
    ]


def _title(plan: PlanRecord, scenario_titles: Mapping[str, str]) -> str:
    """Return the study's title; it may speak of other label noise than a flag has chosen."""
    if not plan.has_other_scenarios:
        return plan.title
    return f"{plan.title} (here: {'; '.join(map(_noise_text, scenario_titles.values()))})"


def _noise_text(scenario_title: str) -> str:
    return f"{scenario_title} label noise" if scenario_title != CLEAN_TITLE else "clean labels"


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
        parts.append(_noise_text(title))
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
    columns: Sequence[Column],
    quoted: QuotedResults,
    headline: AccuracyKind,
    spread: Spread,
) -> tuple[Row, ...]:
    """Return rows of measured accuracies, then rows of published ones; empty rows are left out."""
    measured_rows = [
        Row(
            method=key[0],
            name=row_name(list(cells.values())),
            marker=row_marker(list(cells.values()), is_tuned=key[1] == "tuned"),
            kind="measured",
            entries=tuple(
                _measured_entry(cells.get(scenario), kind, spread, is_headline=kind == headline)
                for scenario, kind in columns
            ),
        )
        for key, cells in rows.items()
    ]
    may_be_best = [
        [scenario in cells and may_compete(cells[scenario]) for scenario, _ in columns]
        for cells in rows.values()
    ]
    quoted_rows = [
        Row(
            method="",
            name=method,
            marker=marker,
            kind="quoted",
            entries=tuple(
                _quoted_entry(results.get(scenario, ()), scenario, kind)
                for scenario, kind in columns
            ),
        )
        for marker, method, results in quoted.iter_rows()
    ]
    all_rows = (*mark_best_entries(measured_rows, may_be_best), *quoted_rows)
    return tuple(row for row in all_rows if not all(entry.is_empty for entry in row.entries))


def may_compete(summary: CellSummary) -> bool:
    """Return whether an entry competes for bold.

    Varied values do not: the best of them would be chosen by its test accuracy.
    """
    return summary.is_complete and not summary.all_failed and summary.cell.origin != "varied"


def row_name(cells: Sequence[CellSummary]) -> str:
    """Return the name of a row: title of the method, and its values if all cells share them."""
    value_texts = {format_values(summary.cell.values) for summary in cells}
    title = cells[0].cell.method_title
    if len(value_texts) > 1:
        return f"{title}, values by scenario"
    return ", ".join(filter(None, [title, *value_texts]))


def row_marker(cells: Sequence[CellSummary], *, is_tuned: bool) -> str:
    """Return the origin of a row's hyperparameter values, such as "tuned (16 trials)"."""
    first_cell = cells[0].cell
    if first_cell.recipe:
        return f"fixed ({first_cell.source}), {first_cell.recipe}"
    if not is_tuned:
        return "varied" if first_cell.origin == "varied" else f"fixed ({first_cell.source})"
    suffix = " = reference" if all(summary.cell.has_reference_values for summary in cells) else ""
    return f"tuned ({format_count(first_cell.trials, 'trial')}){suffix}"


def _measured_entry(
    summary: CellSummary | None, kind: AccuracyKind, spread: Spread, *, is_headline: bool
) -> Entry:
    if summary is None or not kind.is_measured:
        return Entry()
    # In the first column, a published recipe shows the accuracy that this recipe reports.
    metric, title = kind.metric, kind.title
    if is_headline and summary.cell.reading:
        metric = summary.cell.reading
        title = READING_TITLES[metric]
    return measured_entry(summary, metric, title, spread)


def measured_entry(
    summary: CellSummary, metric: str, title: str, spread: Spread = Spread.SD
) -> Entry:
    """Return the entry of a cell.

    Args:
        summary: summary of the cell.
        metric: name of the recorded metric that the entry shows.
        title: title of this accuracy, such as "last epoch".
        spread: what is printed after ±.
    """
    statistic = summary.statistics.get(metric, Statistic.of(()))
    ended_count = summary.planned_count - len(summary.missing_seeds)
    counts_by_remark = {
        f"{ended_count} of {summary.planned_count} seeds": len(summary.missing_seeds),
        f"{summary.diverged_count} of {ended_count} diverged": summary.diverged_count,
        f"{summary.out_of_memory_count} out of memory": summary.out_of_memory_count,
        f"{summary.stagnated_count} of {ended_count} {NOT_CONVERGED}": summary.stagnated_count,
    }
    digests = dict(zip(summary.cell.seeds, summary.cell.digests, strict=True))
    return Entry(
        scenario=summary.cell.scenario,
        kind=title,
        marks=(NOT_CONVERGED,) if summary.all_failed else (),
        remark=", ".join(text for text, count in counts_by_remark.items() if count),
        mean=statistic.mean,
        std=statistic.std,
        n=statistic.n,
        diverged=summary.diverged_count,
        runs=tuple(
            SeedAccuracy(seed, accuracy, digests[seed])
            for seed, accuracy in summary.accuracies.get(metric, {}).items()
        ),
        spread=spread,
        digests=tuple(summary.cell.digests),
    )


def mark_best_entries(rows: Sequence[Row], may_be_best: Sequence[Sequence[bool]]) -> list[Row]:
    """Return copies of rows in which the best entries of each column are bold.

    These are the entry with the best mean and all others that cannot be told from it: by paired
    t-tests over the seeds, with Holm's correction. Entries that share fewer than two seeds with the
    best one cannot be tested and are not bold. A column in which nothing can be tested has no bold
    entry.

    Args:
        rows: rows of measured accuracies.
        may_be_best: whether each entry may be marked, by row and column.
    """
    entries = [list(row.entries) for row in rows]
    for column in range(len(rows[0].entries) if rows else 0):
        competing = {
            index: row[column]
            for index, row in enumerate(entries)
            if may_be_best[index][column] and row[column].mean is not None
        }
        # An accuracy of another epoch, which a published recipe reports, is no competitor.
        kinds = Counter(entry.kind for entry in competing.values())
        main_kind = max(kinds, key=kinds.__getitem__, default="")
        competing = {key: each for key, each in competing.items() if each.kind == main_kind}
        for index in _find_best(competing):
            entries[index][column] = replace(entries[index][column], bold=True)
    return [
        replace(row, entries=tuple(row_entries))
        for row, row_entries in zip(rows, entries, strict=True)
    ]


def _find_best(entries: Mapping[int, Entry]) -> list[int]:
    """Return the keys of the best entry and of those that cannot be told from it."""
    if not entries:
        return []
    best_key = max(entries, key=lambda key: entries[key].mean or 0.0)
    best = entries[best_key].accuracy_by_seed
    comparisons = {
        key: comparison
        for key, entry in entries.items()
        if key != best_key
        and (comparison := compare_paired(best, entry.accuracy_by_seed)) is not None
    }
    if not comparisons:
        return []
    p_values = correct_by_holm([comparison.t_p for comparison in comparisons.values()])
    equals = [key for key, p in zip(comparisons, p_values, strict=True) if p > LEVEL]
    # A tuned row whose values are the reference has the same runs as the row of the reference.
    same_runs = [
        key
        for key, entry in entries.items()
        if key != best_key and key not in comparisons and entry.runs == entries[best_key].runs
    ]
    return [best_key, *equals, *same_runs]


def _quoted_entry(results: Sequence[PublishedAccuracy], scenario: str, kind: AccuracyKind) -> Entry:
    result = next((each for each in results if kind.metric in each.titles_by_metric), None)
    return Entry() if result is None else quoted_entry(result, scenario, kind.title)


def quoted_entry(result: PublishedAccuracy, scenario: str, title: str) -> Entry:
    """Return the entry of a published accuracy.

    Args:
        result: published accuracy.
        scenario: name of the scenario beside whose accuracies it stands.
        title: title of the accuracy, such as "last epoch".
    """
    noise = paper_noise_of(scenario)
    has_other_noise = (
        noise is not None
        and noise.noise_type == "symmetric"
        and is_other_noise(result.convention, noise.convention)
    )
    marks = {
        OTHER_NOISE: has_other_noise,
        "‡": "pretrained" in result.backbone,
        NOT_CONVERGED: result.mean is None,
    }
    return Entry(
        scenario=scenario,
        kind=title,
        marks=tuple(mark for mark, applies in marks.items() if applies),
        mean=result.mean,
        std=result.std,
        n=result.n,
        spread=None,
    )
