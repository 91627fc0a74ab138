"""Verdicts of whole sweeps: which cells are judged, and why others are not comparable."""

from __future__ import annotations

from typing import Any

import pytest
from factories import cell_specs, make_cell, make_plan, make_result
from recorded import recorded_runs

from reports.plan_record import CellRecord, DatasetRecord
from reports.replication import Replication, find_replications

SETTINGS: dict[str, Any] = {
    "study": "cifar10",
    "dataset": DatasetRecord("cifar10", "CIFAR-10", "d" * 64, 10, 50_000, 10_000),
    "backbone": "ResNet-34 (32×32)",
    "epochs": 500,
}
LIKE_THE_PAPER = (0.9342, 0.9349, 0.9355)


def replications_of(
    cell: CellRecord, accuracies: tuple[float, ...] = LIKE_THE_PAPER, **changes: Any
) -> list[Replication]:
    specs = cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    results = [
        make_result(spec, accuracy=accuracy)
        for spec, accuracy in zip(specs, accuracies, strict=True)
    ]
    return find_replications(make_plan([cell], **{**SETTINGS, **changes}), recorded_runs(results))


def nal(scenario: str = "symmetric-0.4", **changes: Any) -> CellRecord:
    values = {"lambda": 0.5, "alpha": 0.9}
    return make_cell("nal", scenario, **{"values": values, "origin": "reference", **changes})


@pytest.mark.parametrize(
    ("accuracies", "kind"),
    [
        (LIKE_THE_PAPER, "reproduced"),
        ((0.90, 0.901, 0.902), "not reproduced"),
        ((0.92, 0.935, 0.945), "inconclusive"),
    ],
)
def test_the_papers_values_are_judged(accuracies: tuple[float, ...], kind: str) -> None:
    (replication,) = replications_of(nal(), accuracies)
    assert replication.verdict.kind == kind
    assert (replication.published, replication.kind) == ("93.49 ± 0.07", "last epoch")
    assert replication.source == "NAL paper, Table 1"


@pytest.mark.parametrize(
    ("cell", "changes", "reason"),
    [
        (nal(origin="tuned", values={"lambda": 1.0, "alpha": 0.8}), {}, "are chosen here"),
        (nal(origin="varied", values={"lambda": 1.0, "alpha": 0.8}), {}, "is varied here"),
        (nal(), {"study": "mine"}, "this study has a recipe of its own"),
        (
            nal(command="train cifar10 --set recipe.learning_rate=0.5 --set lambda=0.5"),
            {},
            "this study has a recipe of its own",
        ),
        (nal(train_count=45_000), {}, "a part of the training images is held out here"),
        (make_cell("ce", "symmetric-0.4"), {}, "not known which epoch"),
        (make_cell("dac", "symmetric-0.4"), {}, "best test epoch"),
        (make_cell("gce", "symmetric-0.4"), {}, "trained here with NAL's recipe"),
        (
            make_cell("elr", "symmetric-0.4", recipe="published recipe (here): 120 epochs"),
            {},
            "kind of symmetric noise",
        ),
        (nal(), {"epochs": 60}, "trains for 60 epochs, and the published runs for 500"),
        (nal(), {"epochs": 600}, "trains for 600 epochs, and the published runs for 500"),
        (nal(epochs=400), {}, "trains for 400 epochs, and the published runs for 500"),
        (nal("symmetric-each-0.4"), {}, "each label is flipped by chance here"),
        (
            make_cell(
                "elr", "symmetric-official-0.4", recipe="published recipe (here): 120 epochs"
            ),
            {},
            "the one draw of NAL's public code",
        ),
        (nal(), {"subset": 1000}, "uses a part of the images"),
    ],
)
def test_other_trainings_are_not_comparable(
    cell: CellRecord, changes: dict[str, Any], reason: str
) -> None:
    (replication,) = replications_of(cell, **changes)
    assert replication.verdict.kind == "not comparable"
    assert reason in replication.verdict.reason


def test_tuned_values_that_equal_the_papers_are_judged() -> None:
    (replication,) = replications_of(nal(origin="tuned, equals reference"))
    assert replication.verdict.kind == "reproduced"


def test_nothing_is_published_for_other_noise_and_backbones() -> None:
    assert replications_of(nal("symmetric-0.3")) == []
    assert replications_of(nal(), backbone="MLP") == []


def test_what_may_differ_is_said_beside_the_verdict() -> None:
    (plain,) = replications_of(nal())
    assert "excludes the true class from symmetric noise and its public code includes it" in (
        plain.verdict.caveat
    )
    (departing,) = replications_of(nal(), deviations=["one thing", "another"])
    assert departing.verdict.kind == "reproduced"
    assert "this study departs from the paper in 2 points" in departing.verdict.caveat
    (official,) = replications_of(nal("symmetric-official-0.4"))
    assert official.verdict.caveat.endswith("and the published draws are unknown")
