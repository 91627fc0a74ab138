"""Measured accuracies beside published ones, each pair with a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.aggregate import summarise_cells
from reports.paper import find_paper_results, paper_noise_of
from reports.public_runs import CITATION as PUBLIC_RUNS_CITATION
from reports.public_runs import find_public_runs, judge_public_runs
from reports.quoted import find_obstacle
from reports.verdict import Published, Verdict, judge
from reports.words import format_accuracy, format_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.aggregate import CellSummary, Statistic
    from reports.paper import PaperResult
    from reports.plan_record import PlanRecord
    from reports.read import RecordedRun


@dataclass(frozen=True, slots=True)
class Replication:
    """A measured accuracy beside the published one of the same method and label noise.

    Attributes:
        method: title of the method.
        values: hyperparameter values, as text.
        scenario: title of the scenario.
        kind: title of the published accuracy, such as "last epoch".
        measured: measured accuracy, as text; "–" if the runs have none of this kind.
        published: published accuracy, as text.
        source: publication that states it, with its table.
        verdict: verdict on the pair.
    """

    method: str
    values: str
    scenario: str
    kind: str
    measured: str
    published: str
    source: str
    verdict: Verdict


def find_replications(plan: PlanRecord, runs: Sequence[RecordedRun]) -> list[Replication]:
    """Compare every cell of a sweep with the published accuracies of its method and label noise.

    Args:
        plan: plan of the sweep.
        runs: recorded runs that the plan names.

    Raises:
        RecordError: if the runs are inconsistent; see `summarise_cells`.
    """
    replications = []
    for summary in summarise_cells(plan, runs):
        cell = summary.cell
        results = find_paper_results(plan.dataset.title, cell.scenario, plan.backbone)
        # A published recipe has the published number of epochs.
        obstacle = find_obstacle(
            plan, cell.scenario, results, min_fraction=0.0 if cell.recipe else 1.0
        )
        own_results = [result for result in results if result.method == cell.method_title]
        for result in own_results:
            if result.mean is None or result.table != own_results[0].table:
                continue
            metric, title = next(
                (
                    (metric, title)
                    for metric, title in result.titles_by_metric.items()
                    if metric in summary.statistics
                ),
                ("", next(iter(result.titles_by_metric.values()))),
            )
            statistic = summary.statistics.get(metric)
            reason = _reason_not_comparable(summary, result, statistic) or (
                f"this sweep {obstacle}" if obstacle else ""
            )
            replications.append(
                Replication(
                    method=cell.method_title,
                    values=format_values(cell.values),
                    scenario=cell.scenario_title,
                    kind=title,
                    measured=_measured_text(statistic),
                    published=format_accuracy(result.mean, result.std),
                    source=f"NAL paper, Table {result.table}"
                    + (f", from {result.quoted_from}" if result.quoted_from else ""),
                    verdict=_judge(statistic, Published(result.mean, result.std, result.n), reason),
                )
            )
        replications += [
            Replication(
                method=cell.method_title,
                values=format_values(cell.values),
                scenario=cell.scenario_title,
                kind=title,
                measured=_measured_text(summary.statistics.get(metric)),
                published=format_accuracy(public_runs.mean, public_runs.std),
                source=f"public runs of {PUBLIC_RUNS_CITATION}",
                verdict=judge_public_runs(plan, summary, public_runs),
            )
            for public_runs in find_public_runs(plan, cell)
            for metric, title in public_runs.titles_by_metric.items()
        ]
    return replications


def _measured_text(statistic: Statistic | None) -> str:
    return format_accuracy(statistic.mean, statistic.std) if statistic else "–"


def _judge(statistic: Statistic | None, published: Published, reason: str) -> Verdict:
    if statistic is None:
        return Verdict("not comparable", None, reason=reason)
    if reason:
        difference = None if statistic.mean is None else statistic.mean - published.mean
        return Verdict("not comparable", difference, reason=reason)
    return judge(statistic, published)


def _reason_not_comparable(
    summary: CellSummary, result: PaperResult, statistic: Statistic | None
) -> str:
    """Return what makes a cell another training than the published one; "" for nothing."""
    cell = summary.cell
    noise = paper_noise_of(cell.scenario)
    convention = "incl" if noise and noise.includes_true_class else "excl"
    applies_by_reason = {
        "it is not known which epoch is published": result.protocol == "unknown",
        "the published accuracy is that of the best test epoch": result.protocol == "best-test",
        "no run has a result of this epoch": statistic is None or statistic.n == 0,
        "some runs diverged or are missing": not summary.is_complete,
        "trained here with NAL's recipe": bool(result.quoted_from and not cell.recipe),
        "trained here with a recipe of this study": bool(
            cell.recipe and not cell.recipe.startswith("published recipe")
        ),
        "hyperparameters are set here": (
            not result.quoted_from
            and cell.origin == "fixed"
            and not cell.source.startswith("paper")
        ),
        "hyperparameters are chosen here": cell.is_tuned and not cell.has_reference_values,
        "a hyperparameter is varied here": cell.origin == "varied",
        "another kind of symmetric noise": (
            noise is not None
            and noise.noise_type == "symmetric"
            and result.convention not in ("", convention)
        ),
    }
    return next((reason for reason, applies in applies_by_reason.items() if applies), "")
