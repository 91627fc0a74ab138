"""Tables 1 to 6 of the NAL paper: its accuracies beside measured ones of several sweeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.aggregate import READING_TITLES, summarise_cells, summarise_unrecorded
from reports.comparison import (
    mark_best_entries,
    may_compete,
    measured_entry,
    quoted_entry,
    row_marker,
    row_name,
)
from reports.joined_notes import join_notes
from reports.notes import table_notes
from reports.paper import (
    CITATION,
    METRICS,
    OTHER_NOISE,
    OTHER_NOISE_NOTE,
    STUDIES_BY_TABLE,
    is_same_name,
    paper_noise_of,
    paper_results,
)
from reports.quoted import QuotedResults
from reports.table import Entry, Row, Section, Table, TableSource
from reports.words import format_count
from trainables.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from reports.aggregate import CellSummary
    from reports.paper import PaperResult
    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun

OTHER_EPOCH = "§"
"""Mark of a published accuracy that is not known to be of the epoch of the measured one."""
OTHER_TRAINING = "¶"
"""Mark of a measured accuracy whose runs were not trained as the published ones."""

_COLUMN_TITLES = {
    "webvision_val_top1": "WebVision, top-1",
    "webvision_val_top5": "WebVision, top-5",
    "ilsvrc12_val_top1": "ImageNet, top-1",
    "ilsvrc12_val_top5": "ImageNet, top-5",
}
"""Heading of a column that shows another metric than test accuracy."""


@dataclass(frozen=True, slots=True)
class PlannedStudy:
    """What a study would train: the cells of its confirm phase.

    Attributes:
        name: name of the study.
        dataset: title of the dataset.
        backbone: title of the backbone.
        cells: cells of the study. The digests of their runs, which depend on the data, are "", and
            values that a search has yet to choose are missing.
    """

    name: str
    dataset: str
    backbone: str
    cells: tuple[CellRecord, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: label-noise scenario, and the metric by its name in the NAL paper's results."""

    scenario: str
    metric: str
    title: str


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a table that one study makes.

    Attributes:
        study: what the study would train.
        plan: plan of its recorded sweep; None if none is recorded.
        recorded: cells of the sweep.
        missing: cells that the study plans and the sweep does not have.
        results: accuracies of the paper's table for the dataset.
        columns: columns of the part.
        source: position of the part's sweep in `Table.sources`.
    """

    study: PlannedStudy
    plan: PlanRecord | None
    recorded: tuple[CellSummary, ...]
    missing: tuple[CellSummary, ...]
    results: tuple[PaperResult, ...]
    columns: tuple[_Column, ...]
    source: int

    @property
    def cells(self) -> tuple[CellSummary, ...]:
        """All cells of the part."""
        return (*self.recorded, *self.missing)

    @property
    def table_source(self) -> TableSource:
        """The sweep as the source of a table."""
        if self.plan is None:
            study = self.study
            return TableSource(study.name, "", "not recorded", study.dataset, study.backbone)
        plan = self.plan
        return TableSource(plan.study, plan.sweep, plan.state, plan.dataset.title, plan.backbone)


def check_table_number(number: int) -> None:
    """Raise `UserError` if the NAL paper has no table of this number."""
    if number not in STUDIES_BY_TABLE:
        raise UserError(
            f"--table {number}: the NAL paper has the tables {min(STUDIES_BY_TABLE)} to "
            f"{max(STUDIES_BY_TABLE)}"
        )


def paper_table(
    number: int,
    studies: Sequence[PlannedStudy],
    sweeps: Mapping[str, tuple[PlanRecord, Sequence[RecordedRun]]],
) -> Table:
    """Build a table of the NAL paper, with the measured accuracies above the published ones.

    A section is a dataset, a column a label noise, as in the paper; the rows are its methods in its
    order, each once for the measured accuracies and once for the published ones. What a study plans
    and no sweep has recorded is shown as "0 of 3 seeds".

    Args:
        number: number of the table.
        studies: the studies that make the table, in its order.
        sweeps: plan and runs of a sweep by the name of the study, for the studies that have one.

    Raises:
        UserError: if the paper has no such table.
        RecordError: if the runs of a sweep are inconsistent; see `summarise_cells`.
    """
    check_table_number(number)
    results = [result for result in paper_results() if result.table == number]
    parts = [
        _make_part(study, sweeps.get(study.name), results, source)
        for source, study in enumerate(studies)
    ]
    # The parts of a table have the same label noise, and differ in the dataset.
    columns = dict.fromkeys(column for part in parts for column in part.columns)
    has_several_parts = len(parts) > 1
    sections = tuple(
        Section(part.study.dataset if has_several_parts else "", tuple(_rows(part, columns)))
        for part in parts
    )
    marks = {
        mark
        for section in sections
        for row in section.rows
        for entry in row.entries
        for mark in entry.marks
    }
    return Table(
        source=parts[0].table_source,
        further_sources=tuple(part.table_source for part in parts[1:]),
        title=f"Table {number} of the NAL paper",
        subtitle=(
            f"{', '.join(dict.fromkeys(part.study.dataset for part in parts))}; test accuracy in "
            "%, measured above published"
        ),
        columns=tuple(column.title for column in columns),
        sections=sections,
        notes=(*_own_notes(number, parts, marks), *_sweeps_notes(parts)),
    )


def _make_part(
    study: PlannedStudy,
    sweep: tuple[PlanRecord, Sequence[RecordedRun]] | None,
    all_results: Sequence[PaperResult],
    source: int,
) -> _Part:
    plan, runs = sweep or (None, ())
    recorded = summarise_cells(plan, runs) if plan else []
    recorded_keys = {_cell_key(summary.cell) for summary in recorded}
    # Tuned values that equal the published ones serve both rows.
    recorded_keys |= {
        (summary.cell.method, summary.cell.scenario, "fixed")
        for summary in recorded
        if summary.cell.has_reference_values
    }
    missing = [cell for cell in study.cells if _cell_key(cell) not in recorded_keys]
    results = [result for result in all_results if is_same_name(result.dataset, study.dataset)]
    scenario_titles = {cell.scenario: cell.scenario_title for cell in study.cells}
    metrics = dict.fromkeys(result.metric for result in results)
    return _Part(
        study=study,
        plan=plan,
        recorded=tuple(recorded),
        missing=tuple(summarise_unrecorded(missing)),
        results=tuple(results),
        columns=tuple(
            _Column(scenario, metric, _COLUMN_TITLES.get(metric) or title)
            for scenario, title in scenario_titles.items()
            for metric in metrics
        ),
        source=source,
    )


def _cell_key(cell: CellRecord) -> tuple[str, str, str]:
    """Return method, scenario and "tuned", "fixed" or "varied"."""
    kind = "tuned" if cell.is_tuned else "varied" if cell.origin == "varied" else "fixed"
    return cell.method, cell.scenario, kind


def _rows(part: _Part, columns: Mapping[_Column, None]) -> Iterator[Row]:
    """Yield the rows of a dataset: methods in the order of the paper, then all others."""
    measured = _measured_rows(part, columns)
    titles = dict.fromkeys(result.method for result in part.results)
    titles |= dict.fromkeys(title for title, _ in measured)
    for method in titles:
        own_rows = [row for title, row in measured if title == method]
        yield from own_rows
        entries = tuple(_published_entry(part, method, column, own_rows) for column in columns)
        if not all(entry.is_empty for entry in entries):
            yield Row(method="", name=method, marker="paper", kind="quoted", entries=entries)


def _measured_rows(part: _Part, columns: Mapping[_Column, None]) -> list[tuple[str, Row]]:
    """Return each measured row with the title of its method; varied values have no row."""
    groups: dict[tuple[str, str], dict[str, CellSummary]] = {}
    for summary in part.cells:
        method, scenario, kind = _cell_key(summary.cell)
        if kind != "varied":
            groups.setdefault((method, kind), {})[scenario] = summary
    for summary in part.cells:
        cell = summary.cell
        if cell.is_tuned and cell.has_reference_values:
            groups.setdefault((cell.method, "fixed"), {}).setdefault(cell.scenario, summary)
    shown = {column.scenario for column in columns}
    groups = {key: cells for key, cells in groups.items() if shown & cells.keys()}
    rows = [
        Row(
            method=method,
            name=row_name(_recorded_or_all(cells)),
            marker=row_marker(_recorded_or_all(cells), is_tuned=kind == "tuned"),
            kind="measured",
            entries=tuple(
                _measured_entry(part, cells[column.scenario], column)
                if column.scenario in cells
                else Entry()
                for column in columns
            ),
        )
        for (method, kind), cells in groups.items()
    ]
    competes = [
        [column.scenario in cells and may_compete(cells[column.scenario]) for column in columns]
        for cells in groups.values()
    ]
    titles = [next(iter(cells.values())).cell.method_title for cells in groups.values()]
    return list(zip(titles, mark_best_entries(rows, competes), strict=True))


def _recorded_or_all(cells: Mapping[str, CellSummary]) -> list[CellSummary]:
    """Return the recorded cells of a row, whose values are known, or all if none is recorded."""
    return [each for each in cells.values() if each.statistics] or list(cells.values())


def _measured_entry(part: _Part, summary: CellSummary, column: _Column) -> Entry:
    """Return a measured entry, of the epoch that the paper's accuracy is from where possible."""
    metric, title = _reading(part, summary, column)
    entry = measured_entry(summary, metric, title)
    is_other = bool(entry.runs) and bool(_departures(part, column.scenario, summary))
    return replace(
        entry, source=part.source, marks=(*entry.marks, *([OTHER_TRAINING] if is_other else []))
    )


def _reading(part: _Part, summary: CellSummary, column: _Column) -> tuple[str, str]:
    """Return the recorded metric that an entry shows, and its title.

    It is the metric of the paper's accuracy if runs have it, then that of the method's published
    recipe, else the accuracy in the last epoch.
    """
    result = _find_result(part, summary.cell.method_title, column)
    for metric, title in result.titles_by_metric.items() if result else ():
        statistic = summary.statistics.get(metric)
        if statistic is not None and statistic.n:
            return metric, title
    if summary.cell.reading and column.metric == "test_acc":
        return summary.cell.reading, READING_TITLES[summary.cell.reading]
    metrics = METRICS[column.metric, "last-epoch"]
    return next((each for each in metrics if each in summary.statistics), metrics[0]), "last epoch"


def _find_result(part: _Part, method: str, column: _Column) -> PaperResult | None:
    """Return the paper's accuracy of a method in a column; None if none is printed."""
    noise = paper_noise_of(column.scenario)
    return next(
        (
            result
            for result in part.results
            if result.is_printed
            and result.method == method
            and result.metric == column.metric
            and noise is not None
            and result.noise_type == noise.noise_type
            and (result.noise_rate == noise.noise_rate or not noise.noise_rate)
        ),
        None,
    )


def _published_entry(
    part: _Part, method: str, column: _Column, measured_rows: Sequence[Row]
) -> Entry:
    result = _find_result(part, method, column)
    if result is None:
        return Entry()
    (title,) = set(result.titles_by_metric.values())
    entry = quoted_entry(result, column.scenario, title)
    kinds = {
        each.kind
        for row in measured_rows
        for each in row.entries
        if each.scenario == column.scenario and not each.is_empty
    }
    is_other = result.mean is not None and (
        result.protocol == "unknown" or not kinds <= {title, title.rpartition(", ")[2]}
    )
    return replace(
        entry, source=part.source, marks=(*entry.marks, *([OTHER_EPOCH] if is_other else []))
    )


def _departures(part: _Part, scenario: str, summary: CellSummary | None = None) -> list[str]:
    """Return in what a sweep's runs on a scenario differ from the training of the paper.

    Args:
        part: part of the table with the sweep.
        scenario: name of the scenario.
        summary: cell to judge; a published recipe has its own number of epochs.
    """
    plan = part.plan
    if plan is None:
        return []
    departures = []
    if not any(is_same_name(result.backbone, plan.backbone) for result in part.results):
        departures.append(f"network {plan.backbone}")
    if plan.subset is not None:
        departures.append(f"trained on {plan.subset:,} of {plan.dataset.train_size:,} images")
    if plan.test_subset is not None:
        departures.append(f"tested on {plan.test_subset:,} of {plan.dataset.test_size:,} images")
    epochs = plan.scenario_epochs.get(scenario, plan.epochs)
    column = next(column for column in part.columns if column.scenario == scenario)
    own_epochs = [
        result.epochs
        for method in dict.fromkeys(result.method for result in part.results)
        if (result := _find_result(part, method, column))
        and result.epochs
        and not result.quoted_from
    ]
    if own_epochs and epochs != own_epochs[0] and not (summary and summary.cell.recipe):
        departures.append(f"{format_count(epochs, 'epoch')} instead of {own_epochs[0]}")
    return departures


def _own_notes(number: int, parts: Sequence[_Part], marks: Collection[str]) -> Iterator[str]:
    """Yield the notes on the joined table as a whole.

    Args:
        number: number of the table.
        parts: parts of the table.
        marks: marks of its entries.
    """
    yield (
        f'Rows marked "paper" quote {CITATION}, Table {number}, with ± as printed there; they are '
        "never bold."
    )
    if OTHER_EPOCH in marks:
        yield (
            f"{OTHER_EPOCH} marks a published accuracy that is of another epoch than the measured "
            "ones beside it, or of an unknown epoch. Measured accuracies are of the last epoch, or "
            "of the published accuracy's epoch where the runs have it."
        )
    if OTHER_NOISE in marks:
        yield OTHER_NOISE_NOTE
    symmetric = [
        noise
        for part in parts
        for column in part.columns
        if (noise := paper_noise_of(column.scenario)) and noise.noise_type == "symmetric"
    ]
    if symmetric:
        yield (
            "Symmetric noise excludes the true class in the paper's text, but its public code "
            "includes it; the paper does not say which of the two produced its accuracies."
        )
    if any("pretrained" in result.backbone for part in parts for result in part.results):
        yield "‡ marks the paper's accuracy of a network that started from ImageNet weights."
    for part in parts:
        recorded = {summary.cell.scenario for summary in part.recorded}
        scenarios = [column.scenario for column in part.columns if column.scenario in recorded]
        departures = dict.fromkeys(
            text for scenario in scenarios for text in _departures(part, scenario)
        )
        if departures:
            yield (
                f"{OTHER_TRAINING} marks accuracies of {part.study.name} that are not comparable "
                f"with the published ones, since the runs differ: {', '.join(departures)}."
            )


def _sweeps_notes(parts: Sequence[_Part]) -> Iterator[str]:
    """Yield which sweeps the table is made from, and the notes of each of them."""
    for part in parts:
        if part.plan is None:
            yield (
                f"No sweep of {part.study.name} is recorded: run `python -m orchestrator sweep "
                f"{part.study.name}`."
            )
            continue
        shown = {column.scenario for column in part.columns}
        others = {
            summary.cell.scenario_title
            for summary in part.cells
            if summary.cell.scenario not in shown
        }
        yield f"{part.study.name}: sweep {part.plan.sweep[:12]}, {part.plan.state}" + (
            f"; its runs on {', '.join(sorted(others))} have no column here." if others else "."
        )
    nothing_quoted = QuotedResults({}, {}, frozenset())
    yield from join_notes(
        {
            part.study.name: table_notes(part.plan, part.recorded, nothing_quoted)
            for part in parts
            if part.plan is not None
        },
        len(parts),
    )
