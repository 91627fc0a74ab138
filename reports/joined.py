"""A table joined from several sweeps: methods by datasets and label noise.

Sweeps share a column where dataset, label noise, noisy labels, network, training settings, revision
of the training code and kind of device agree. Otherwise each has a column of its own, and the notes
say what differs. A layout may allow some of these to differ within a column.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from reports.aggregate import (
    METRICS_WITHOUT_COLUMN,
    READING_TITLES,
    CellSummary,
    accuracy_kinds,
    summarise_cell,
    summarise_cells,
)
from reports.comparison import (
    mark_best_entries,
    may_compete,
    measured_entry,
    row_marker,
    row_name,
)
from reports.joined_notes import join_notes
from reports.notes import table_notes
from reports.quoted import QuotedResults
from reports.table import Entry, Row, Section, Table, TableSource
from reports.words import format_values
from trainables.errors import UserError, suggest
from trainables.run.metrics import TEST_MEAN_LAST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun

Poolable = Literal["devices", "recipes", "revisions"]
"""What a layout may allow to differ within a column."""

RowKey = tuple[str, str, str, str]
"""Key of a row: method, "tuned" or "fixed", values and recipe."""


@dataclass(frozen=True, slots=True)
class JoinedLayout:
    """What a joined table shows.

    Attributes:
        title: title of the table.
        metric: name or title of the accuracy; "" for the first one of the sweeps.
        methods: names of the methods, in the order of the rows; empty for all.
        scenarios: names of the label-noise scenarios, in the order of the columns; empty for all.
        pool: what may differ within a column.
    """

    title: str = ""
    metric: str = ""
    methods: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    pool: frozenset[Poolable] = frozenset()

    def shows(self, cell: CellRecord) -> bool:
        """Return whether the table has a row and a column for a cell."""
        return (not self.methods or cell.method in self.methods) and (
            not self.scenarios or cell.scenario in self.scenarios
        )


@dataclass(frozen=True, slots=True)
class RecordedSweep:
    """A recorded sweep: its plan and runs.

    Attributes:
        plan: plan of the sweep.
        runs: recorded runs, by digest.
        cells: summaries of the cells of the plan.
    """

    plan: PlanRecord
    runs: Mapping[str, RecordedRun]
    cells: tuple[CellSummary, ...]

    @classmethod
    def of(cls, plan: PlanRecord, runs: Sequence[RecordedRun]) -> RecordedSweep:
        """Summarise a sweep; `RecordError` if its runs are inconsistent."""
        cells = tuple(summarise_cells(plan, runs))
        return cls(plan, {run.digest: run for run in runs}, cells)

    @property
    def label(self) -> str:
        """Name of the study with the first digits of the sweep's digest."""
        return f"{self.plan.study} {self.plan.sweep[:12]}"

    @property
    def source(self) -> TableSource:
        """The sweep as the source of a table."""
        plan = self.plan
        return TableSource(plan.study, plan.sweep, plan.state, plan.dataset.title, plan.backbone)

    def cells_on(self, scenario: str) -> list[CellSummary]:
        """Return the cells of a scenario."""
        return [summary for summary in self.cells if summary.cell.scenario == scenario]

    def _matched_cells(self, scenario: str) -> list[CellRecord]:
        """Return the cells of a scenario that are trained with the matched recipe."""
        cells = (summary.cell for summary in self.cells_on(scenario))
        return [cell for cell in cells if not cell.recipe]

    def settings_on(self, scenario: str, metric: str) -> dict[str, object]:
        """Return what must agree for two sweeps to share a column, by name."""
        plan, cells = self.plan, self.cells_on(scenario)
        settings: dict[str, object] = {
            "data": plan.dataset.digest,
            "network": plan.backbone,
            "training images": plan.subset or plan.dataset.train_size,
            "test images": plan.test_subset or plan.dataset.test_size,
            "seeds held fixed": plan.fixed_seeds,
            "epochs": plan.scenario_epochs.get(scenario, plan.epochs),
            "held out": {cell.train_count for cell in self._matched_cells(scenario)},
            # Plans of older versions do not state it, and agree with no other sweep.
            "recipes": plan.trainings.get(scenario, f"not recorded in {plan.sweep}"),
            "revisions": {revision for each in cells for revision in each.revisions.values()},
            "devices": {device for each in cells for device in each.devices},
        }
        if metric == TEST_MEAN_LAST:
            settings["averaged epochs"] = plan.averaged_epochs
        return settings


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: a scenario of a dataset, with the sweeps that share the column."""

    scenario: str
    title: str
    sweeps: tuple[int, ...]


def joined_table(
    sweeps: Sequence[tuple[PlanRecord, Sequence[RecordedRun]]], layout: JoinedLayout
) -> Table:
    """Build a table of the measured accuracies of several sweeps.

    Args:
        sweeps: plan and recorded runs of each sweep.
        layout: what the table shows.

    Raises:
        UserError: if a sweep is given twice, no sweep has the metric, or none has a method or
            scenario of the layout.
        RecordError: if the runs of a sweep are inconsistent; see `summarise_cells`.
    """
    recorded = [RecordedSweep.of(plan, runs) for plan, runs in sweeps]
    metric, metric_title = _find_metric(recorded, layout.metric)
    _check_names(recorded, layout)
    differences: list[str] = []
    columns = _columns(recorded, layout, metric, differences)
    cells_by_row: dict[RowKey, dict[int, tuple[CellSummary, int]]] = {}
    for position, column in enumerate(columns):
        for key, cell in _merged_cells(recorded, column, differences).items():
            cells_by_row.setdefault(key, {})[position] = cell
    methods = layout.methods or tuple(dict.fromkeys(key[0] for key in cells_by_row))
    keys = [key for method in methods for key in cells_by_row if key[0] == method]
    rows = [
        Row(
            method=key[0],
            name=row_name([cell for cell, _ in cells_by_row[key].values()]),
            marker=row_marker(
                [cell for cell, _ in cells_by_row[key].values()], is_tuned=key[1] == "tuned"
            ),
            kind="measured",
            entries=tuple(
                _entry(cells_by_row[key].get(position), metric, metric_title, layout)
                for position in range(len(columns))
            ),
        )
        for key in keys
    ]
    competes = [
        [
            position in cells_by_row[key] and may_compete(cells_by_row[key][position][0])
            for position in range(len(columns))
        ]
        for key in keys
    ]
    datasets = dict.fromkeys(sweep.plan.dataset.title for sweep in recorded)
    return Table(
        source=recorded[0].source,
        further_sources=tuple(sweep.source for sweep in recorded[1:]),
        title=layout.title or " and ".join(dict.fromkeys(each.plan.title for each in recorded)),
        subtitle=f"{', '.join(datasets)}, {metric_title}, test accuracy in %",
        columns=tuple(column.title for column in columns),
        sections=(Section("", tuple(mark_best_entries(rows, competes))),),
        notes=(*_own_notes(recorded, layout, differences), *_sweeps_notes(recorded, layout)),
    )


def _find_metric(sweeps: Sequence[RecordedSweep], name: str) -> tuple[str, str]:
    """Return the recorded metric of a layout, and its title."""
    titles = {kind.metric: kind.title for sweep in sweeps for kind in accuracy_kinds(sweep.plan)}
    if not name:
        return next(iter(titles.items()))
    for metric, title in titles.items():
        if name in (metric, title):
            return metric, title
    raise UserError(f"metric: unknown accuracy '{name}': {suggest(name, titles)}")


def _check_names(sweeps: Sequence[RecordedSweep], layout: JoinedLayout) -> None:
    """Raise `UserError` if no sweep has a method or scenario of the layout."""
    cells = [summary.cell for sweep in sweeps for summary in sweep.cells]
    for key, names, known in (
        ("rows", layout.methods, {cell.method for cell in cells}),
        ("columns", layout.scenarios, {cell.scenario for cell in cells}),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"{key}: no sweep has '{name}': {suggest(name, known)}")


def _columns(
    sweeps: Sequence[RecordedSweep], layout: JoinedLayout, metric: str, differences: list[str]
) -> list[_Column]:
    """Return the columns; what keeps sweeps apart is added to `differences`."""
    titles = {
        summary.cell.scenario: summary.cell.scenario_title
        for sweep in sweeps
        for summary in sweep.cells
    }
    has_several_datasets = len({sweep.plan.dataset.title for sweep in sweeps}) > 1
    columns = []
    for scenario in layout.scenarios or titles:
        groups: list[list[int]] = []
        for position, sweep in enumerate(sweeps):
            if not sweep.cells_on(scenario):
                continue
            for group in groups:
                reasons = [
                    reason
                    for other in group
                    for reason in _differences(sweeps[other], sweep, scenario, metric, layout)
                ]
                if not reasons:
                    group.append(position)
                    break
                differences.append(
                    f"{titles[scenario]}: {sweeps[group[0]].label} and {sweep.label} differ in "
                    f"{', '.join(dict.fromkeys(reasons))}"
                )
            else:
                groups.append([position])
        for group in groups:
            dataset = sweeps[group[0]].plan.dataset.title
            parts = [dataset] if has_several_datasets else []
            parts.append(titles[scenario])
            if len(groups) > 1:
                parts.append(" and ".join(sweeps[position].label for position in group))
            columns.append(_Column(scenario, ", ".join(parts), tuple(group)))
    return columns


def _differences(
    first: RecordedSweep, second: RecordedSweep, scenario: str, metric: str, layout: JoinedLayout
) -> list[str]:
    """Return what keeps two sweeps from sharing the column of a scenario."""
    first_settings = first.settings_on(scenario, metric)
    second_settings = second.settings_on(scenario, metric)
    names = [
        name
        for name, value in first_settings.items()
        if value != second_settings[name] and name not in layout.pool
    ]
    labels = [
        {seed: sha for each in sweep.cells_on(scenario) for seed, sha in each.labels_sha256.items()}
        for sweep in (first, second)
    ]
    if any(labels[0][seed] != labels[1][seed] for seed in labels[0].keys() & labels[1].keys()):
        names.append("noisy labels")
    return names


def _row_key(cell: CellRecord) -> RowKey:
    kind = "tuned" if cell.is_tuned else "varied" if cell.origin == "varied" else "fixed"
    return cell.method, kind, format_values(cell.values), cell.recipe


def _merged_cells(
    sweeps: Sequence[RecordedSweep], column: _Column, differences: list[str]
) -> dict[RowKey, tuple[CellSummary, int]]:
    """Return the cells of a column by row, each with the position of its first sweep.

    Cells of several sweeps with the same key are one cell with the seeds of all; a run that several
    sweeps have counts once. Where they have other runs at a seed, the first sweep's cell is kept,
    which is added to `differences`.
    """
    merged: dict[RowKey, tuple[CellSummary, int]] = {}
    runs: dict[str, RecordedRun] = {}
    for position in column.sweeps:
        runs |= sweeps[position].runs
    for position in column.sweeps:
        sweep = sweeps[position]
        metrics = [
            *(kind.metric for kind in accuracy_kinds(sweep.plan)),
            *METRICS_WITHOUT_COLUMN,
        ]
        for summary in sweep.cells_on(column.scenario):
            cell, key = summary.cell, _row_key(summary.cell)
            if key not in merged:
                # Rows of the same runs, under the names of two sweeps, are one.
                if all(set(cell.digests) != set(each.cell.digests) for each, _ in merged.values()):
                    merged[key] = (summary, position)
                continue
            first, first_position = merged[key]
            digests = dict(zip(first.cell.seeds, first.cell.digests, strict=True))
            others = dict(zip(cell.seeds, cell.digests, strict=True))
            shared_seeds = digests.keys() & others.keys()
            is_same_cell = _is_same_training([*digests.values(), *others.values()], runs)
            if not is_same_cell or any(digests[seed] != others[seed] for seed in shared_seeds):
                reason = "at the same seeds" if is_same_cell else "with other fixed values"
                differences.append(
                    f"{cell.method_title} on {cell.scenario_title}: the runs of {sweep.label} "
                    f"{reason} are not shown beside those of {sweeps[first_position].label}"
                )
                continue
            union = dict(sorted((digests | others).items()))
            all_seeds = replace(first.cell, seeds=list(union), digests=list(union.values()))
            merged[key] = (summarise_cell(all_seeds, runs, metrics), first_position)
    return merged


def _is_same_training(digests: Sequence[str], runs: Mapping[str, RecordedRun]) -> bool:
    """Return whether runs differ in their seeds alone, as far as they are recorded.

    Runs of older versions do not state their cell; they are the same only if they are one run.
    """
    recorded = {digest: runs[digest].cell for digest in digests if digest in runs}
    cells = set(recorded.values())
    return len(recorded) <= 1 or (len(cells) == 1 and "" not in cells)


def _entry(
    cell: tuple[CellSummary, int] | None, metric: str, title: str, layout: JoinedLayout
) -> Entry:
    if cell is None:
        return Entry()
    summary, source = cell
    # Without a metric of the layout, a published recipe shows the accuracy that it reports.
    if summary.cell.reading and not layout.metric:
        metric, title = summary.cell.reading, READING_TITLES[summary.cell.reading]
    return replace(measured_entry(summary, metric, title), source=source)


def _own_notes(
    sweeps: Sequence[RecordedSweep], layout: JoinedLayout, differences: Sequence[str]
) -> Iterator[str]:
    yield f"Joined from {len(sweeps)} sweeps: {'; '.join(sweep.label for sweep in sweeps)}."
    for difference in dict.fromkeys(differences):
        yield f"{difference}."
    if layout.pool:
        pooled = ", ".join(sorted(layout.pool))
        yield f"The layout allows {pooled} to differ within a column, which ± and bold ignore."
    for name in sorted(layout.pool):
        for first, second in combinations(sweeps, 2):
            scenarios = {each.cell.scenario for each in first.cells} & {
                each.cell.scenario for each in second.cells
            }
            if any(
                first.settings_on(scenario, "")[name] != second.settings_on(scenario, "")[name]
                for scenario in scenarios
            ):
                yield f"{first.label} and {second.label} differ in {name}."


def _sweeps_notes(sweeps: Sequence[RecordedSweep], layout: JoinedLayout) -> Iterator[str]:
    """Yield the notes on the sweeps, as far as they are about cells that the table shows."""
    nothing_quoted = QuotedResults({}, {}, frozenset())
    yield from join_notes(
        {
            f"{position} ({sweep.label})" if _is_repeated(sweep, sweeps) else sweep.label: (
                table_notes(
                    sweep.plan,
                    [summary for summary in sweep.cells if layout.shows(summary.cell)],
                    nothing_quoted,
                )
            )
            for position, sweep in enumerate(sweeps, start=1)
        },
        len(sweeps),
    )


def _is_repeated(sweep: RecordedSweep, sweeps: Sequence[RecordedSweep]) -> bool:
    """Return whether several stores have runs of this sweep."""
    return sum(other.label == sweep.label for other in sweeps) > 1
