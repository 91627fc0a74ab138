"""The content of a sweep's page: what a reader opens below the entries of its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.aggregate import READING_TITLES, AccuracyKind, Statistic, accuracy_kinds
from reports.page.plot import CurvePlot, plot_curves
from reports.pairs import RowPair, compare_rows
from reports.replication import Replication, find_replications
from reports.trial_values import trial_values
from reports.words import (
    GREEK_LETTERS,
    format_accuracy,
    format_count,
    format_extension,
    format_space,
    format_values,
)
from trainables.run.metrics import TEST_LAST, TEST_MEAN_LAST, VAL_MEAN_LAST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.plan_record import CellRecord, PlanRecord, TuningRecord
    from reports.read import Curve, RecordedRun
    from reports.table import Table

Facts = tuple[tuple[str, str], ...]
"""Name and text of each fact, in order."""


@dataclass(frozen=True, slots=True)
class PageRun:
    """A run of a table entry, with what is needed to find it and to train it again.

    Attributes:
        seed: base seed of the run.
        digest: digest of the run.
        status: how the run ended, such as "finished"; "not recorded yet" for a run that has not.
        accuracies: accuracies of the run, in the order of `PageCell.kinds`; None for none.
        labels_sha256: SHA-256 of the noisy labels; "" for a run that is not recorded.
        circumstances: device, commit and data of the run by name; empty for a run that is not
            recorded.
        page_url: address of the run's page on the MLflow server; "" if no server has it.
        command: shell command that trains the run again; "" if it is not recorded.
    """

    seed: int
    digest: str
    status: str
    accuracies: tuple[float | None, ...]
    labels_sha256: str
    circumstances: Mapping[str, str]
    page_url: str
    command: str


@dataclass(frozen=True, slots=True)
class PageCell:
    """What opens below an entry of the table: the runs of one method, scenario and values.

    Attributes:
        anchor: ID of the cell in the page.
        title: method and scenario.
        facts: values in full precision, their origin, the recipe, and the circumstances that all
            runs share.
        replications: published accuracies beside the measured ones, with verdicts.
        kinds: titles of the accuracies that the runs have.
        runs: all planned runs, in the order of their seeds.
        differing: names of the circumstances in which the runs differ.
        plot: test accuracy over the epochs; None if no run has recorded it.
    """

    anchor: str
    title: str
    facts: Facts
    replications: tuple[Replication, ...]
    kinds: tuple[str, ...]
    runs: tuple[PageRun, ...]
    differing: tuple[str, ...]
    plot: CurvePlot | None


@dataclass(frozen=True, slots=True)
class PageCandidate:
    """Hyperparameter values that a search tried, with their held-out accuracy.

    Attributes:
        name: name of the trial or candidate, such as "trial 3".
        values: the values, as text.
        accuracy: held-out accuracy in percent, with ± over seeds if there are several.
        mean: mean of this accuracy; None if no run has finished.
        n: number of runs.
        is_chosen: whether the confirm phase uses the values.
    """

    name: str
    values: str
    accuracy: str
    mean: float | None
    n: int
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class PageSearch:
    """A search for hyperparameters and the selection among its best values.

    Attributes:
        title: method and scenario of the trials.
        facts: what was searched, and which values were chosen.
        candidates: values that the select phase compares on new seeds.
        trials: trials of the search, in order.
    """

    title: str
    facts: Facts
    candidates: tuple[PageCandidate, ...]
    trials: tuple[PageCandidate, ...]


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A figure of the page.

    Attributes:
        title: title of the figure.
        caption: caption, with what bands and markers show.
        svg: the figure as an SVG document.
    """

    title: str
    caption: str
    svg: str


@dataclass(frozen=True, slots=True)
class Page:
    """The content of a sweep's page.

    Attributes:
        table: comparison table of the sweep.
        facts: study and plan in short.
        searches: searches for hyperparameters.
        cells: cells of the table, in the order of the plan.
        replications: published accuracies beside the measured ones, with verdicts.
        pairs: differences of all pairs of rows, paired over seeds.
        figures: figures of the sweep.
    """

    table: Table
    facts: Facts
    searches: tuple[PageSearch, ...]
    cells: tuple[PageCell, ...]
    replications: tuple[Replication, ...]
    pairs: tuple[RowPair, ...]
    figures: tuple[PageFigure, ...] = ()

    @property
    def cells_by_digest(self) -> dict[str, PageCell]:
        """Cell of each run in the table, by the digest of the run."""
        return {run.digest: cell for cell in self.cells for run in cell.runs}


def page_content(
    plan: PlanRecord,
    runs: Sequence[RecordedRun],
    table: Table,
    curves: Mapping[str, Curve],
    figures: Sequence[PageFigure] = (),
) -> Page:
    """Collect the content of a sweep's page.

    Args:
        plan: plan of the sweep.
        runs: recorded runs that the plan names.
        table: comparison table of these runs.
        curves: test accuracy over the epochs, as fractions, by the digest of the run.
        figures: figures of the sweep.

    Raises:
        RecordError: if the runs are inconsistent; see `reports.aggregate.summarise_cells`.
    """
    runs_by_digest = {run.digest: run for run in runs}
    replications = find_replications(plan, runs)
    return Page(
        table=table,
        facts=_plan_facts(plan),
        searches=tuple(_search(search, runs_by_digest) for search in plan.searches),
        cells=tuple(
            _cell(f"cell-{number}", cell, plan, runs_by_digest, replications, curves)
            for number, cell in enumerate(plan.cells, start=1)
        ),
        replications=tuple(replications),
        pairs=tuple(compare_rows(table)),
        figures=tuple(figures),
    )


def _plan_facts(plan: PlanRecord) -> Facts:
    dataset = plan.dataset
    seeds = sorted({seed for cell in plan.cells for seed in cell.seeds})
    scenarios = dict.fromkeys(cell.scenario_title for cell in plan.cells)
    facts = {
        "Study": plan.study,
        "Sweep": plan.sweep,
        "Dataset": (
            f"{dataset.title}: {dataset.train_size:,} training and {dataset.test_size:,} test "
            f"samples, {format_count(dataset.classes, 'class', 'classes')}"
        ),
        "Data, SHA-256": dataset.digest,
        "Network": plan.backbone,
        "Epochs": str(plan.epochs),
        "Label noise": ", ".join(scenarios),
        "Seeds": ", ".join(map(str, seeds)),
        "Held fixed": ", ".join(f"{name} = {seed}" for name, seed in plan.fixed_seeds.items()),
        "Values chosen by": plan.protocol if plan.searches else "",
        "Code from outside": "; ".join(
            format_extension(name, sha256) for name, sha256 in plan.code.items()
        ),
    }
    return tuple((name, text) for name, text in facts.items() if text)


def _cell(
    anchor: str,
    cell: CellRecord,
    plan: PlanRecord,
    runs: Mapping[str, RecordedRun],
    replications: Sequence[Replication],
    curves: Mapping[str, Curve],
) -> PageCell:
    kinds = list(accuracy_kinds(plan))
    if cell.reading and cell.reading not in {kind.metric for kind in kinds}:
        kinds.append(AccuracyKind(cell.reading, READING_TITLES[cell.reading]))
    cell_runs = [runs[digest] for digest in cell.digests if digest in runs]
    kinds = [
        kind
        for kind in kinds
        if any(kind.metric in run.metrics for run in cell_runs)
        and not (kind.metric == TEST_MEAN_LAST and _is_last_epoch(plan, cell_runs))
    ]
    own_key = (cell.method_title, format_values(cell.values), cell.scenario_title)
    facts = {
        **{GREEK_LETTERS.get(name, name): str(value) for name, value in cell.values.items()},
        "Origin": f"{cell.origin} ({cell.source})",
        "Trials": str(cell.trials) if cell.is_tuned else "",
        "Recipe": cell.recipe,
    }
    seeds_and_digests = list(zip(cell.seeds, cell.digests, strict=True))
    page_runs = tuple(
        _run(seed, digest, runs.get(digest), kinds, cell.command)
        for seed, digest in seeds_and_digests
    )
    circumstances = [run.circumstances for run in page_runs if run.circumstances]
    differing = tuple(
        name
        for name in (circumstances[0] if circumstances else ())
        if len({each[name] for each in circumstances}) > 1
    )
    if circumstances:
        facts |= {name: text for name, text in circumstances[0].items() if name not in differing}
    return PageCell(
        anchor=anchor,
        title=", ".join(filter(None, own_key)),
        facts=tuple((name, text) for name, text in facts.items() if text),
        replications=tuple(
            replication
            for replication in replications
            if (replication.method, replication.values, replication.scenario) == own_key
        ),
        kinds=tuple(kind.title for kind in kinds),
        runs=page_runs,
        differing=differing,
        plot=plot_curves(
            {seed: curves[digest] for seed, digest in seeds_and_digests if digest in curves}
        ),
    )


def _is_last_epoch(plan: PlanRecord, runs: Sequence[RecordedRun]) -> bool:
    """Return whether the mean over epochs is the accuracy of the last epoch under another name."""
    return plan.averages_one_epoch and all(
        run.metrics.get(TEST_MEAN_LAST) == run.metrics.get(TEST_LAST) for run in runs
    )


def _run(
    seed: int, digest: str, run: RecordedRun | None, kinds: Sequence[AccuracyKind], command: str
) -> PageRun:
    metrics = run.metrics if run else {}
    status = run.status if run else "not recorded yet"
    has_failed = run is not None and run.status == "finished" and not run.converged
    return PageRun(
        seed=seed,
        digest=digest,
        status=f"{status}, not converged" if has_failed else status,
        accuracies=tuple(
            100 * metrics[kind.metric] if kind.metric in metrics else None for kind in kinds
        ),
        labels_sha256=run.labels_sha256 if run else "",
        circumstances=_circumstances(run) if run else {},
        page_url=run.page_url if run else "",
        command=f"{command} --seed {seed} --home again" if command else "",
    )


def _circumstances(run: RecordedRun) -> dict[str, str]:
    return {
        "Device": f"{run.provenance['device']}, torch {run.provenance['torch']}",
        "Commit": run.commit,
        "Data, SHA-256": run.data_sha256[:12],
    }


def _search(search: TuningRecord, runs: Mapping[str, RecordedRun]) -> PageSearch:
    reference = search.reference
    facts = {
        "Searched": "; ".join(map(format_space, search.space, search.space.values())),
        "Trials": f"{len(search.runs_by_trial)} of {search.trials} on {search.scenario}",
        "Seeds of each trial": str(search.seeds) if search.seeds > 1 else "",
        "Proposed by": search.sampler,
        "Reference": f"{format_values(reference.values)} ({reference.source})" if reference else "",
        "Chosen": format_values(search.chosen) if search.chosen else "not yet",
        "Used on": ", ".join(search.serves),
    }
    return PageSearch(
        title=f"{search.method_title} on {search.scenario}",
        facts=tuple((name, text) for name, text in facts.items() if text),
        candidates=tuple(
            _candidate(
                f"from the {candidate.origin}",
                format_values(candidate.values),
                [runs[digest] for digest in candidate.digests if digest in runs],
                is_chosen=candidate.values == search.chosen,
            )
            for candidate in search.candidates
        ),
        trials=tuple(
            _candidate(
                f"trial {number}",
                format_values(trial_values(runs[digest], search.space)),
                [runs[digest]],
                is_chosen=False,
            )
            for number, digest in enumerate(search.digests, start=1)
            if digest in runs
        ),
    )


def _candidate(
    name: str, values: str, runs: Sequence[RecordedRun], *, is_chosen: bool
) -> PageCandidate:
    finished = [
        100 * run.metrics[VAL_MEAN_LAST]
        for run in runs
        if run.status == "finished" and VAL_MEAN_LAST in run.metrics
    ]
    statistic = Statistic.of(finished)
    failed = [run.status for run in runs if run.status != "finished"]
    text = format_accuracy(statistic.mean, statistic.std)
    return PageCandidate(
        name=name,
        values=values,
        accuracy=", ".join([text, *failed]) if finished else ", ".join(failed) or text,
        mean=statistic.mean,
        n=statistic.n,
        is_chosen=is_chosen,
    )
