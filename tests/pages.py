"""Pages of sweeps that were never carried out, with texts that try to leave their place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from factories import cell_specs, make_cell, make_plan, make_result
from recorded import recorded_runs

from reports.comparison import comparison_table
from reports.page.content import Page, page_content
from reports.plan_record import (
    CandidateRecord,
    CellRecord,
    PlanRecord,
    ReferenceRecord,
    TuningRecord,
)
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.page.content import PageFigure
    from reports.read import Curve, RecordedRun

HOSTILE = (
    "</script></td><img src=http://a.example/x onerror=alert(1)> \"q\" 'q' <!-- & {{ 7*7 }} é λ"
)
CHOSEN = {"lambda": 1.2345678901, "alpha": 0.91}


def page_cells(seeds: Sequence[int] = (0, 1, 2)) -> list[CellRecord]:
    """Return cells of cross entropy and of NAL with tuned values."""
    command = "python -m orchestrator train digits --scenario symmetric-0.4 --set"
    return [
        make_cell("ce", seeds=seeds, command=f"{command} --method ce"),
        make_cell(
            "nal",
            seeds=seeds,
            values=CHOSEN,
            origin="tuned",
            trials=2,
            source="search on symmetric-0.4",
            command=f"{command} lambda=1.2345678901 --set alpha=0.91 --method nal",
        ),
    ]


def page_runs(plan: PlanRecord) -> list[RecordedRun]:
    """Return finished runs of a plan; NAL is more accurate, and the first seed less than others."""
    results = [
        make_result(spec, accuracy=(0.9 if cell.method == "nal" else 0.6) + 0.004 * spec.seeds.init)
        for cell in plan.cells
        for spec in cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    ]
    return recorded_runs(results)


def page_of(
    plan: PlanRecord, runs: Sequence[RecordedRun], figures: Sequence[PageFigure] = ()
) -> Page:
    """Return the page of a sweep whose curves rise to the accuracy of the last epoch."""
    curves: dict[str, Curve] = {
        run.digest: [
            (epoch, run.metrics["test/accuracy_last"] * epoch / 6) for epoch in range(1, 7)
        ]
        for run in runs
        if "test/accuracy_last" in run.metrics
    }
    return page_content(plan, runs, comparison_table(plan, runs), curves, figures)


def small_plan(cells: Sequence[CellRecord] | None = None, **changes: Any) -> PlanRecord:
    """Return a plan with a search, whose trials and candidates are runs of the first cell."""
    cells = page_cells() if cells is None else cells
    search = TuningRecord(
        method="nal",
        method_title="NAL",
        scenario="symmetric-0.4",
        serves=["symmetric-0.4"],
        space={"lambda": Space(0.05, 20.0, log=True), "alpha": Space(0.5, 0.99)},
        trials=3,
        digests=cells[-1].digests[:2],
        reference=ReferenceRecord({"lambda": 0.5, "alpha": 0.9}, "paper, section 5.2"),
        candidates=[CandidateRecord(dict(CHOSEN), "search", cells[-1].digests)],
        chosen=dict(CHOSEN),
    )
    return make_plan(cells, **{"searches": [search], **changes})


def judged_plan() -> PlanRecord:
    """Return a plan whose cells have published accuracies: CIFAR-10, as in the paper."""
    return small_plan(
        [make_cell("nal", "symmetric-0.4", source="paper, section 5.2"), *page_cells()],
        searches=[],
        study="cifar10",
        dataset=replace(small_plan().dataset, name="cifar10", title="CIFAR-10"),
        backbone="ResNet-34 (32×32)",
        epochs=500,
    )


def hostile_page() -> Page:
    """Return a page whose study, method, scenario and run have hostile texts."""
    cells = [
        replace(cell, method_title=HOSTILE, scenario_title=HOSTILE, source=HOSTILE, command=HOSTILE)
        for cell in page_cells()
    ]
    plan = small_plan(cells, title=HOSTILE, study=HOSTILE, deviations=[HOSTILE], backbone=HOSTILE)
    runs = [
        replace(run, commit=HOSTILE, provenance={"device": HOSTILE, "torch": HOSTILE})
        for run in page_runs(plan)
    ]
    return page_of(plan, runs)
