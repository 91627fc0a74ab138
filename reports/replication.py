"""Measured accuracies beside published ones, each pair with a verdict."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from reports.aggregate import summarise_cells
from reports.paper import PAPER_STUDIES, find_paper_results, paper_noise_of
from reports.public_runs import CITATION as PUBLIC_RUNS_CITATION
from reports.public_runs import find_public_runs, judge_public_runs
from reports.quoted import find_obstacle, paper_epochs
from reports.verdict import Published, Verdict, judge
from reports.words import NO_NUMBER, format_accuracy, format_count, format_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.aggregate import CellSummary, Statistic
    from reports.paper import PaperResult
    from reports.plan_record import CellRecord, PlanRecord
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
            # Plans of older versions lack the epochs of a published recipe, which are as published.
            is_unknown = bool(cell.recipe) and not cell.epochs
            obstacle = find_obstacle(
                plan,
                plan.epochs_of(cell),
                0 if is_unknown else result.epochs or paper_epochs(results),
                min_fraction=1.0,
                max_fraction=1.0 if result.epochs else math.inf,
            )
            reason = _reason_not_comparable(plan, summary, result, statistic) or (
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
                    verdict=_judge(
                        statistic,
                        Published(result.mean, result.std, result.n),
                        reason,
                        caveat="; ".join(_caveats(plan, summary, result)),
                    ),
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
    if statistic is None:
        return NO_NUMBER
    return format_accuracy(statistic.mean, statistic.std, one_run=statistic.n == 1)


def _judge(statistic: Statistic | None, published: Published, reason: str, caveat: str) -> Verdict:
    if statistic is None:
        return Verdict("not comparable", None, reason=reason)
    if reason:
        difference = None if statistic.mean is None else statistic.mean - published.mean
        return Verdict("not comparable", difference, reason=reason)
    return replace(judge(statistic, published), caveat=caveat)


def _caveats(plan: PlanRecord, summary: CellSummary, result: PaperResult) -> Iterator[str]:
    """Yield what may make a cell another training than the published one."""
    noise = paper_noise_of(summary.cell.scenario)
    noise_type = noise.noise_type if noise else ""
    if noise_type == "symmetric" and not result.convention:
        yield (
            "the publication's text excludes the true class from symmetric noise and its public "
            "code includes it, so that its noise may be another"
            if not result.quoted_from
            else "whether the published noise may draw the true class is not known"
        )
    if noise is not None and noise.variant == "official":
        yield "all seeds have the one draw of the public code, and the published draws are unknown"
    if noise_type.startswith("pmd"):
        yield "the publication does not say which of two forms of PMD noise it has"
    if result.epochs is None:
        yield "the published number of epochs is not known"
    if plan.deviations:
        points = format_count(len(plan.deviations), "point")
        yield f"this study departs from the paper in {points}, listed under the table"


def _reason_not_comparable(
    plan: PlanRecord, summary: CellSummary, result: PaperResult, statistic: Statistic | None
) -> str:
    """Return what makes a cell another training than the published one; "" for nothing."""
    cell = summary.cell
    noise = paper_noise_of(cell.scenario)
    convention = noise.convention if noise else ""
    applies_by_reason = {
        "it is not known which epoch is published": result.protocol == "unknown",
        "the published accuracy is that of the best test epoch": result.protocol == "best-test",
        "no run has a result of this epoch": statistic is None or statistic.n == 0,
        "some runs diverged or are missing": not summary.is_complete,
        "trained here with NAL's recipe": bool(result.quoted_from and not cell.recipe),
        "trained here with a recipe of this study": bool(
            cell.recipe and not cell.recipe.startswith("published recipe")
        ),
        "this study has a recipe of its own": not cell.recipe and _has_own_recipe(plan, cell),
        "a part of the training images is held out here": (
            not cell.recipe and 0 < cell.train_count < plan.dataset.train_size
        ),
        "hyperparameters are set here": (
            not result.quoted_from
            and cell.origin == "fixed"
            and not cell.source.startswith("paper")
        ),
        "hyperparameters are chosen here": cell.is_tuned and not cell.has_reference_values,
        "a hyperparameter is varied here": cell.origin == "varied",
        "each label is flipped by chance here, a fixed number of labels in the public code": (
            noise is not None and noise.variant == "each"
        ),
        "the one draw of NAL's public code, not that of the quoted publication": (
            noise is not None and noise.variant == "official" and bool(result.quoted_from)
        ),
        "another kind of symmetric noise": (
            noise is not None
            and noise.noise_type == "symmetric"
            and result.convention not in ("", convention)
        ),
    }
    return next((reason for reason, applies in applies_by_reason.items() if applies), "")


def _has_own_recipe(plan: PlanRecord, cell: CellRecord) -> bool:
    """Return whether the matched recipe of a study may differ from that of the paper's studies.

    This holds for a study of the user's, and if the command of the sweep sets a value of a recipe
    or of the network. The number of epochs is judged by itself.
    """
    keys = ("recipe.", "recipes.", "overrides", "backbone")
    return plan.study not in PAPER_STUDIES or any(
        flag == "--set" and word.startswith(keys)
        for flag, word in pairwise(shlex.split(cell.command))
    )
