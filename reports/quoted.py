"""The published accuracies that are quoted beside the runs of a sweep, and why others are not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from reports.paper import QUOTED_METHODS, find_paper_results, find_paper_results_on_any_backbone
from reports.public_runs import MARKER, QuotedPublicRuns, find_quoted_public_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reports.aggregate import CellSummary
    from reports.paper import PaperResult
    from reports.plan_record import PlanRecord

MIN_EPOCHS_FRACTION = 0.5
"""Smallest fraction of the published number of epochs at which accuracies are quoted."""


class PublishedAccuracy(Protocol):
    """An accuracy that a table quotes, whatever its source: the NAL paper or public runs."""

    @property
    def mean(self) -> float | None:
        """Mean accuracy in percent; None if the runs did not converge."""

    @property
    def std(self) -> float | None:
        """Standard deviation in percent; None if it is not published."""

    @property
    def n(self) -> int | None:
        """Number of runs; None if it is not published."""

    @property
    def backbone(self) -> str:
        """Title of the network."""

    @property
    def convention(self) -> str:
        """Convention of symmetric noise: "incl", "excl" or ""."""

    @property
    def titles_by_metric(self) -> dict[str, str]:
        """Title of the accuracy by each metric of runs that it can be compared with."""


@dataclass(frozen=True, slots=True)
class QuotedResults:
    """Published accuracies to print beside a sweep's.

    Attributes:
        by_method: accuracies by the title of the method, then by scenario; all of them are to be
            quoted. Methods of the sweep come first.
        obstacles: what the sweep does otherwise, such as "uses a part of the images", for each
            scenario whose published accuracies are not quoted for this reason.
        other_backbones: backbones of the published accuracies that are not quoted for theirs.
        public_runs: accuracies of public runs.
    """

    by_method: Mapping[str, Mapping[str, Sequence[PaperResult]]]
    obstacles: Mapping[str, str]
    other_backbones: frozenset[str]
    public_runs: QuotedPublicRuns = field(
        default_factory=lambda: QuotedPublicRuns({}, {}, has_other_network=False)
    )

    def iter_rows(
        self,
    ) -> Iterator[tuple[str, str, Mapping[str, Sequence[PublishedAccuracy]]]]:
        """Yield the rows of all sources: source, method, and accuracies by scenario."""
        for method, results in self.by_method.items():
            yield "paper", method, results
        for method, public_runs in self.public_runs.by_method.items():
            yield MARKER, method, public_runs

    @property
    def all_results(self) -> list[PublishedAccuracy]:
        """Accuracies of all sources."""
        return [*self.results, *self.public_runs.results]

    @property
    def results(self) -> list[PaperResult]:
        """All accuracies of the NAL paper to be quoted."""
        by_scenario = self.by_method.values()
        return [result for results in by_scenario for group in results.values() for result in group]


def find_quoted_results(plan: PlanRecord, cells: Sequence[CellSummary]) -> QuotedResults:
    """Find the published accuracies for the scenarios and methods of a sweep.

    Accuracies are quoted only beside trainings on all data with the same backbone, and with at
    least `MIN_EPOCHS_FRACTION` of the NAL paper's number of epochs, or, where this is unknown, of
    the smallest number that is known for the same noise.
    """
    methods = [*dict.fromkeys(summary.cell.method_title for summary in cells), *QUOTED_METHODS]
    by_method: dict[str, dict[str, list[PaperResult]]] = {method: {} for method in methods}
    obstacles: dict[str, str] = {}
    other_backbones: set[str] = set()
    for scenario in dict.fromkeys(summary.cell.scenario for summary in cells):
        results = find_paper_results(plan.dataset.title, scenario, plan.backbone)
        if not results:
            other_results = find_paper_results_on_any_backbone(plan.dataset.title, scenario)
            other_backbones |= {result.backbone for result in other_results}
            continue
        epochs = plan.scenario_epochs.get(scenario, plan.epochs)
        if obstacle := find_obstacle(plan, epochs, paper_epochs(results), MIN_EPOCHS_FRACTION):
            obstacles[scenario] = obstacle
            continue
        # The paper's table of ablations repeats rows of Table 1; the first accuracy is kept.
        first_table = {(result.method, result.metric): result.table for result in reversed(results)}
        for result in results:
            is_first = result.table == first_table[result.method, result.metric]
            if is_first and result.method in by_method:
                by_method[result.method].setdefault(scenario, []).append(result)
    return QuotedResults(
        {method: results for method, results in by_method.items() if results},
        obstacles,
        frozenset(other_backbones),
        find_quoted_public_runs(plan, cells),
    )


def find_obstacle(
    plan: PlanRecord,
    epochs: int,
    published_epochs: int,
    min_fraction: float,
    max_fraction: float = math.inf,
) -> str:
    """Return what makes runs incomparable with published ones; "" for nothing.

    Args:
        plan: plan of the sweep.
        epochs: number of epochs of the runs.
        published_epochs: number of epochs of the published runs; 0 if it is unknown.
        min_fraction: smallest fraction of the published number of epochs.
        max_fraction: largest fraction of it.
    """
    if plan.subset is not None or plan.test_subset is not None:
        return "uses a part of the images"
    low, high = min_fraction * published_epochs, max_fraction * published_epochs
    if published_epochs and not low <= epochs <= high:
        return f"trains for {epochs} epochs, and the published runs for {published_epochs}"
    return ""


def paper_epochs(results: Sequence[PaperResult]) -> int:
    """Return the number of epochs of the NAL paper's own runs among published accuracies.

    If it is unknown, this is the smallest number that is known for the same noise, or else 0.
    """
    own_epochs = [result.epochs for result in results if result.epochs and not result.quoted_from]
    known_epochs = [result.epochs for result in results if result.epochs]
    return own_epochs[0] if own_epochs else min(known_epochs, default=0)
