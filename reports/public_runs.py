"""Accuracies of publicly logged runs on CIFAR-10N and CIFAR-100N, to quote beside measured ones.

They are computed from the logs of every epoch that noisypy publishes, and are read three ways: in
the last epoch, as the mean over the last 10 epochs, and in the best test epoch.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from reports.paper import is_same_name
from reports.verdict import Published, Verdict, judge
from trainables.run.metrics import TEST_LAST, TEST_MEAN_LAST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.aggregate import CellSummary
    from reports.plan_record import CellRecord, PlanRecord

CITATION = "KlemenVovk/noisy-labels (noisypy), commit 3d92600; ReScience C 11(1), 2026"
"""Reference to the public runs, printed under tables that quote them."""
MARKER = "noisypy logs"
"""Text beside the rows that quote public runs."""
BACKBONE = "ResNet34"
"""Network of the public runs that are quoted, with the stem for images of 32×32 pixels."""
MIN_EPOCHS_FRACTION = 0.5
"""Smallest fraction of the public runs' number of epochs at which they are quoted."""

METHOD_TITLES = {"CE": "Cross Entropy", "ELR": "ELR"}
"""Title of each method of this project by its name in the public logs."""
LABEL_SETS = {"cifar10": "cifar10n", "cifar100": "cifar100n"}
"""Dataset in the public logs with the images of a dataset, where the names differ."""
MEAN_OF_10 = "last 10 epochs"
"""Averaged epochs of a plan under which its mean accuracy is that of the public runs."""

BEST_TEST_METRIC = "test_acc/best-test"
"""Name of the accuracy in the best test epoch, which no run of this project records."""
MEAN_OF_10_METRIC = "test_acc/mean-of-last-10"
"""Name of the mean over the last 10 epochs for plans that average others."""


@dataclass(frozen=True, slots=True)
class PublicRuns:
    """One accuracy of public runs of a method on one set of labels.

    Attributes:
        data: name of the label set in the logs, such as "cifar10n_worse".
        method: title of the method.
        reading: "last", "mean_last_10" or "best_test".
        epochs: number of epochs of each run.
        mean: mean accuracy in percent.
        std: sample standard deviation (ddof 1) in percent.
        n: number of runs.
        backbone: title of the network.
        convention: "", since human labels follow no convention of symmetric noise.
        averages_last_10: whether the plan that the accuracy is quoted for averages the same epochs.
    """

    data: str
    method: str
    reading: str
    epochs: int
    mean: float
    std: float
    n: int
    backbone: str = BACKBONE
    convention: str = ""
    averages_last_10: bool = False

    @property
    def titles_by_metric(self) -> dict[str, str]:
        """Title of the accuracy by the metric of runs that it can be compared with."""
        mean_metric = TEST_MEAN_LAST if self.averages_last_10 else MEAN_OF_10_METRIC
        return {
            "last": {TEST_LAST: "last epoch"},
            "mean_last_10": {mean_metric: f"mean of {MEAN_OF_10}"},
            "best_test": {BEST_TEST_METRIC: "best test epoch"},
        }[self.reading]


@dataclass(frozen=True, slots=True)
class QuotedPublicRuns:
    """Public runs to print beside those of a sweep.

    Attributes:
        by_method: accuracies by the title of the method, then by scenario.
        obstacles: what the sweep does otherwise for each method and scenario whose public runs are
            not quoted for this reason, such as "uses a part of the images".
        has_other_network: whether public runs are not quoted since the sweep has another network.
    """

    by_method: dict[str, dict[str, list[PublicRuns]]]
    obstacles: dict[tuple[str, str], str]
    has_other_network: bool

    @property
    def results(self) -> list[PublicRuns]:
        """All accuracies to be quoted."""
        by_scenario = self.by_method.values()
        return [runs for scenarios in by_scenario for group in scenarios.values() for runs in group]


@cache
def _read_file(*, averages_last_10: bool) -> tuple[PublicRuns, ...]:
    """Return all accuracies of the file for methods of this project."""
    text = (resources.files("reports") / "public_runs.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
    return tuple(
        PublicRuns(
            data=row["data"],
            method=METHOD_TITLES[row["method"]],
            reading=reading,
            epochs=int(row["epochs"]),
            mean=float(row[f"{reading}_mean"]),
            std=float(row[f"{reading}_std"]),
            n=int(row["seeds"]),
            averages_last_10=averages_last_10,
        )
        for row in csv.DictReader(io.StringIO("".join(lines)))
        if row["method"] in METHOD_TITLES
        for reading in ("last", "mean_last_10", "best_test")
    )


def find_public_runs(plan: PlanRecord, cell: CellRecord) -> list[PublicRuns]:
    """Return the accuracies of public runs of a cell's method on the same labels, on any network.

    Args:
        plan: plan of the sweep.
        cell: cell of the plan. Its labels are those of a human label set, or the true ones.
    """
    dataset = LABEL_SETS.get(plan.dataset.name, plan.dataset.name)
    data = f"{dataset}_{cell.scenario.removeprefix('human-')}"
    return [
        runs
        for runs in _read_file(averages_last_10=plan.averaged_epochs == MEAN_OF_10)
        if runs.data == data and runs.method == cell.method_title
    ]


def find_quoted_public_runs(plan: PlanRecord, cells: Sequence[CellSummary]) -> QuotedPublicRuns:
    """Find the public runs for the scenarios and methods of a sweep.

    They are quoted only beside trainings on all data with the same network, and with at least
    `MIN_EPOCHS_FRACTION` of their number of epochs.
    """
    quoted = QuotedPublicRuns({}, {}, has_other_network=False)
    is_same_network = is_same_name(plan.backbone, BACKBONE)
    for summary in cells:
        cell = summary.cell
        all_runs = find_public_runs(plan, cell)
        if not all_runs:
            continue
        if not is_same_network:
            return QuotedPublicRuns({}, {}, has_other_network=True)
        if obstacle := _find_obstacle(plan, cell, all_runs[0].epochs, MIN_EPOCHS_FRACTION):
            quoted.obstacles[cell.method_title, cell.scenario_title] = obstacle
        else:
            quoted.by_method.setdefault(cell.method_title, {})[cell.scenario] = all_runs
    return quoted


def _find_obstacle(plan: PlanRecord, cell: CellRecord, epochs: int, min_fraction: float) -> str:
    """Return what makes the runs of a cell incomparable with public ones; "" for nothing."""
    if plan.subset is not None or plan.test_subset is not None:
        return "uses a part of the images"
    own_epochs = plan.epochs_of(cell)
    if own_epochs < min_fraction * epochs:
        return f"trains for {own_epochs} epochs, and the public runs for {epochs}"
    return ""


def public_runs_notes(quoted: QuotedPublicRuns) -> tuple[str, ...]:
    """Return the notes on quoted public runs, and on those that are not comparable."""
    notes = []
    if quoted.results:
        epochs = {runs.method: runs.epochs for runs in quoted.results}
        texts = ", ".join(f"{method} for {count} epochs" for method, count in epochs.items())
        notes.append(
            f'Rows marked "{MARKER}" quote public runs of {CITATION}: {texts}, under the recipe of '
            "the method's authors, ± over 3 seeds (ddof 1). The best test epoch is chosen by the "
            "test set. Its other configurations have another network or recipe and are not "
            "comparable."
        )
    notes += [
        f"Public runs of {method} on {scenario} are not shown, since this sweep {obstacle}."
        for (method, scenario), obstacle in quoted.obstacles.items()
    ]
    if quoted.has_other_network:
        notes.append(f"Public runs of {CITATION} are not shown, since their network is {BACKBONE}.")
    return tuple(notes)


def judge_public_runs(plan: PlanRecord, summary: CellSummary, public_runs: PublicRuns) -> Verdict:
    """Judge whether the runs of a cell reproduce public ones.

    Runs of the same length under a recipe of their own are compared: whether the recipe is that of
    the public runs, in every setting, is not recorded in a plan.
    """
    cell = summary.cell
    ((metric, _),) = public_runs.titles_by_metric.items()
    statistic = summary.statistics.get(metric)
    own_epochs = plan.epochs_of(cell)
    applies_by_reason = {
        "the public accuracy is that of the best test epoch": public_runs.reading == "best_test",
        "no run has a result of these epochs": statistic is None or statistic.n == 0,
        f"the public runs have another network, {BACKBONE}": not is_same_name(
            plan.backbone, BACKBONE
        ),
        "this sweep uses a part of the images": (
            plan.subset is not None or plan.test_subset is not None
        ),
        "some runs diverged or are missing": not summary.is_complete,
        "trained here with NAL's recipe": not cell.recipe,
        f"{own_epochs} epochs here, {public_runs.epochs} in the public runs": (
            own_epochs != public_runs.epochs
        ),
        "the public runs hold out no labels": "held out" in cell.recipe,
        "hyperparameters are chosen here": cell.is_tuned or cell.origin == "varied",
    }
    reason = next((text for text, applies in applies_by_reason.items() if applies), "")
    if statistic is None or statistic.mean is None:
        return Verdict("not comparable", None, reason=reason)
    if reason:
        return Verdict("not comparable", statistic.mean - public_runs.mean, reason=reason)
    verdict = judge(statistic, Published(public_runs.mean, public_runs.std, public_runs.n))
    return replace(verdict, caveat="recipes are not compared, beyond the number of epochs")
