"""Accuracies that the NAL paper reports in its Tables 1 to 6, to quote beside measured ones."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from trainables.run.metrics import TEST_LAST

CITATION = "Lu, Bo and He, Noise Attention Learning, NeurIPS 2022"
"""Reference to the NAL paper, printed under tables that quote its accuracies."""

NOT_CONVERGED = "⊖"
"""Symbol that the NAL paper prints where a method fails to converge."""

QUOTED_METHODS = ("NLNL",)
"""Methods that no study trains, but whose accuracies in the NAL paper are quoted in tables.

NLNL is not trained because a run takes about 3,000 epochs.
"""

REAL_NOISE = "real"
"""Value of `PaperResult.noise_type` for real-world datasets, whose labels are noisy by nature."""

PAPER_METRICS = {
    TEST_LAST: ("test_acc", "webvision_val_top1"),
    "test/webvision/top1_last": ("webvision_val_top1",),
    "test/webvision/top5_last": ("webvision_val_top5",),
    "test/imagenet/top1_last": ("ilsvrc12_val_top1",),
    "test/imagenet/top5_last": ("ilsvrc12_val_top5",),
}
"""Values of `PaperResult.metric` that correspond to each metric of runs, by its name."""

_SCENARIO_PATTERN = re.compile(
    r"(symmetric(?:-incl)?(?:-each)?|symmetric-official|asymmetric(?:-each|-official)?"
    r"|pmd(?:-keep)?-[123])-(0\.\d+)"
)


@dataclass(frozen=True, slots=True)
class PaperResult:
    """One accuracy in a table of the NAL paper.

    Attributes:
        table: number of the table in the paper.
        dataset: name of the dataset, as printed.
        noise_type: "symmetric", "asymmetric", "pmd-type-1" to "pmd-type-3", or "real".
        noise_rate: nominal noise rate, a fraction.
        backbone: name of the backbone, as printed.
        method: name of the method, as printed.
        metric: name of the accuracy: "test_acc", or one of the four metrics of mini-WebVision.
        mean: mean accuracy in percent; None where the paper prints ⊖ or nothing.
        std: standard deviation in percent; None where the paper prints none.
        note: remark on the origin of the accuracy, such as a quotation from an earlier paper.
    """

    table: int
    dataset: str
    noise_type: str
    noise_rate: float
    backbone: str
    method: str
    metric: str
    mean: float | None
    std: float | None
    note: str


@dataclass(frozen=True, slots=True)
class PaperNoise:
    """Label noise of a scenario, described as in the tables of the NAL paper.

    Attributes:
        noise_type: type of noise, one of the values of `PaperResult.noise_type`.
        noise_rate: nominal noise rate, a fraction; 0 for real noise.
        includes_true_class: whether the noise is symmetric and may draw the true class again; in
            the paper's text, symmetric noise never does.
    """

    noise_type: str
    noise_rate: float
    includes_true_class: bool


@cache
def paper_results() -> tuple[PaperResult, ...]:
    """Return all accuracies in Tables 1 to 6 of the NAL paper."""
    text = (resources.files("reports") / "paper_results.csv").read_text(encoding="utf-8")
    return tuple(
        PaperResult(
            table=int(row["table"]),
            dataset=row["dataset"],
            noise_type=row["noise_type"],
            noise_rate=float(row["noise_rate"]),
            backbone=row["backbone"],
            method=row["method"],
            metric=row["metric"],
            mean=float(row["mean"]) if row["mean"] else None,
            std=float(row["std"]) if row["std"] else None,
            note=row["source_note"],
        )
        for row in csv.DictReader(io.StringIO(text))
    )


def paper_noise_of(scenario: str) -> PaperNoise | None:
    """Describe the label noise of a scenario as in the NAL paper; None if the paper lacks it."""
    if scenario == "clean":
        return PaperNoise(REAL_NOISE, 0.0, includes_true_class=False)
    match = _SCENARIO_PATTERN.fullmatch(scenario)
    if match is None:
        return None
    kind, rate = match.groups()
    if kind.startswith("pmd"):
        return PaperNoise(f"pmd-type-{kind[-1]}", float(rate), includes_true_class=False)
    includes_true_class = kind.startswith(("symmetric-incl", "symmetric-official"))
    return PaperNoise(kind.partition("-")[0], float(rate), includes_true_class)


def find_paper_results(
    dataset: str, scenario: str, backbone: str, metric: str = TEST_LAST
) -> list[PaperResult]:
    """Return the NAL paper's accuracies for a dataset, scenario and backbone, in the paper's order.

    Args:
        dataset: title of the dataset, or its name in studies, such as "CIFAR-10" or "cifar10".
        scenario: name of the scenario. The same accuracies are returned for `symmetric-R` and
            `symmetric-incl-R`, which `paper_noise_of` distinguishes.
        backbone: title of the backbone; "ResNet-34 (32×32)" matches the paper's "ResNet34".
        metric: name of a metric of runs, one of the keys of `PAPER_METRICS`.
    """
    name = _normalise_name(backbone)
    results = find_paper_results_on_any_backbone(dataset, scenario, metric)
    return [result for result in results if _normalise_name(result.backbone) == name]


def find_paper_results_on_any_backbone(
    dataset: str, scenario: str, metric: str = TEST_LAST
) -> list[PaperResult]:
    """Return the NAL paper's accuracies for a dataset and scenario on all backbones."""
    noise = paper_noise_of(scenario)
    if noise is None:
        return []
    return [
        result
        for result in paper_results()
        if result.metric in PAPER_METRICS.get(metric, ())
        and (result.mean is not None or "converge" in result.note)
        and _normalise_name(result.dataset) == _normalise_name(dataset)
        and result.noise_type == noise.noise_type
        and (noise.noise_type == REAL_NOISE or result.noise_rate == noise.noise_rate)
    ]


def _normalise_name(name: str) -> str:
    """Reduce a name to lower-case letters and digits: "ResNet-34 (32×32)" becomes "resnet34"."""
    return re.sub(r"[^a-z0-9]", "", name.partition("(")[0].lower())
