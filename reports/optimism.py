"""Optimism of a search: the held-out accuracy of its winner there, and on fresh seeds.

The best of many trials is partly the luckiest one, so that its accuracy in the search promises too
much. The same values on the seeds of select and confirm show by how much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.aggregate import Statistic
from reports.words import format_count
from trainables.run.metrics import VAL_MEAN_LAST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reports.aggregate import CellSummary
    from reports.plan_record import PlanRecord, TuningRecord
    from reports.read import RecordedRun


@dataclass(frozen=True, slots=True)
class SearchOptimism:
    """Held-out accuracy of a search's winner in the search and on fresh seeds, in percent.

    The accuracy is the one by which the search chooses: on held-out noisy labels.

    Attributes:
        method: title of the method.
        scenario: name of the searched scenario.
        trials: number of trials that have ended.
        search: accuracy of the winning trial, the mean over the seeds of the search; None if it is
            not recorded.
        select: mean accuracy of the winner on the seeds of select; None without such runs.
        select_n: number of these seeds.
        confirm: mean accuracy on the seeds of confirm; None if its runs hold nothing out.
        confirm_n: number of these seeds.
        standard_error: largest standard error of the accuracy of one run, in points, which comes
            from the number of held-out samples.
    """

    method: str
    scenario: str
    trials: int
    search: float | None
    select: float | None
    select_n: int
    confirm: float | None
    confirm_n: int
    standard_error: float

    @property
    def text(self) -> str:
        """One sentence for the notes under a table."""
        texts = [] if self.search is None else [f"{self.search:.2f} in the search"]
        if self.select is not None:
            texts.append(
                f"{self.select:.2f} on {format_count(self.select_n, 'new seed')} of select"
            )
        texts.append(
            "not measured in confirm"
            if self.confirm is None
            else f"{self.confirm:.2f} on {format_count(self.confirm_n, 'seed')} of confirm"
        )
        return (
            f"{self.method}: held-out accuracy (%) of the chosen values: {', '.join(texts)}. "
            "Search and select have chosen these values, so that only confirm is free of luck. The "
            f"held-out samples alone give one run a standard error of up to "
            f"{self.standard_error:.2f} points."
        )


def search_optimism(
    plan: PlanRecord, cells: Sequence[CellSummary], runs: Sequence[RecordedRun]
) -> tuple[SearchOptimism, ...]:
    """Return the optimism of each search of a sweep that has chosen its values.

    Args:
        plan: plan of the sweep.
        cells: summaries of its cells.
        runs: recorded runs that the plan names.
    """
    accuracies = {
        run.digest: 100 * run.metrics[VAL_MEAN_LAST]
        for run in runs
        if run.status == "finished" and VAL_MEAN_LAST in run.metrics
    }
    return tuple(
        SearchOptimism(
            method=search.method_title,
            scenario=search.scenario,
            trials=len(search.runs_by_trial),
            search=found.mean,
            select=select.mean,
            select_n=select.n,
            confirm=confirm.mean,
            confirm_n=confirm.n,
            standard_error=100 * plan.standard_error,
        )
        for search in plan.searches
        if search.chosen is not None
        for found in [_statistic(search.chosen_digests, accuracies)]
        for select in [_statistic(_select(search), accuracies)]
        for confirm in [Statistic.of(list(_confirm(search, cells)))]
        if found.n or select.n
    )


def _statistic(digests: Sequence[str], accuracies: Mapping[str, float]) -> Statistic:
    """Return the statistic of the accuracies of those runs that are recorded."""
    return Statistic.of([accuracies[digest] for digest in digests if digest in accuracies])


def _select(search: TuningRecord) -> list[str]:
    """Return the digests of the winner's runs in select."""
    return [
        digest
        for candidate in search.candidates
        if candidate.values == search.chosen
        for digest in candidate.digests
    ]


def _confirm(search: TuningRecord, cells: Sequence[CellSummary]) -> Iterator[float]:
    """Yield the held-out accuracy of each confirm run of the chosen values, in percent."""
    for summary in cells:
        cell = summary.cell
        if cell.is_tuned and (cell.method, cell.scenario) == (search.method, search.scenario):
            yield from summary.accuracies[VAL_MEAN_LAST].values()
