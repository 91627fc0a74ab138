"""Numbers of the NAL paper, from its Tables 1 to 6, by dataset, label noise and backbone."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from trainables.run.metrics import TEST_LAST

CITATION = "Lu, Bo and He, Noise Attention Learning, NeurIPS 2022"

NOT_CONVERGED = "⊖"
"""Symbol that the NAL paper prints where a method fails to converge."""

QUOTED_METHODS = ("NLNL",)
"""Methods that are not trained, but quoted in every table for which the NAL paper has numbers.

NLNL takes about 3,000 epochs.
"""

REAL_NOISE = "real"
"""Noise type of the real-world datasets, whose labels are already noisy."""

METRICS = {
    TEST_LAST: ("test_acc", "webvision_val_top1"),
    "test/webvision/top1_last": ("webvision_val_top1",),
    "test/webvision/top5_last": ("webvision_val_top5",),
    "test/imagenet/top1_last": ("ilsvrc12_val_top1",),
    "test/imagenet/top5_last": ("ilsvrc12_val_top5",),
}
"""Values of `PaperResult.metric` that correspond to a metric of our runs, by its name."""

_SCENARIO = re.compile(
    r"(symmetric(?:-incl)?(?:-each)?|symmetric-official|asymmetric(?:-each|-official)?"
    r"|pmd(?:-keep)?-[123])-(0\.\d+)"
)


@dataclass(frozen=True, slots=True)
class PaperResult:
    """One number in a table of the NAL paper.

    Attributes:
        table: number of the table in the paper.
        dataset: name of the dataset, as printed.
        noise_type: "symmetric", "asymmetric", "pmd-type-1" to "pmd-type-3", or "real".
        noise_rate: nominal noise rate, a fraction.
        backbone: name of the backbone, as printed.
        method: name of the method, as printed.
        metric: "test_acc", or one of the four metrics of mini-WebVision.
        mean: mean in percent; None where the paper prints ⊖.
        std: standard deviation in percent; None where the paper prints none.
        note: remark on the origin of the number.
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
class PaperSetting:
    """Label noise of a scenario in the terms of the NAL paper.

    Attributes:
        noise_type: noise type, with the values of `PaperResult.noise_type`.
        noise_rate: nominal noise rate, a fraction; 0 for real noise.
        including: whether the noise is symmetric and may draw the true class again, which the
            paper's text excludes.
    """

    noise_type: str
    noise_rate: float
    including: bool


@cache
def paper_results() -> tuple[PaperResult, ...]:
    """Return every number in Tables 1 to 6 of the NAL paper."""
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


def paper_setting_of(scenario: str) -> PaperSetting | None:
    """Return the paper's description of a scenario; None if the paper has no such scenario."""
    if scenario == "clean":
        return PaperSetting(REAL_NOISE, 0.0, including=False)
    match = _SCENARIO.fullmatch(scenario)
    if match is None:
        return None
    kind, rate = match.groups()
    if kind.startswith("pmd"):
        return PaperSetting(f"pmd-type-{kind[-1]}", float(rate), including=False)
    including = kind.startswith(("symmetric-incl", "symmetric-official"))
    return PaperSetting(kind.partition("-")[0], float(rate), including)


def find_paper_results(
    dataset: str, scenario: str, backbone: str, metric: str = TEST_LAST
) -> list[PaperResult]:
    """Return the paper's numbers for a dataset, scenario and backbone, in the paper's order.

    Args:
        dataset: title of the dataset or its name in studies: "CIFAR-10" or "cifar10".
        scenario: name of the scenario; `symmetric-incl-R` and `symmetric-R` return the same
            numbers, and `paper_setting_of` distinguishes them.
        backbone: title of the backbone: "ResNet-34 (32×32)" matches the paper's "ResNet34".
        metric: metric of a run, one of the keys of `METRICS`.
    """
    name, results = _simplify(backbone), paper_results_on_any_backbone(dataset, scenario, metric)
    return [result for result in results if _simplify(result.backbone) == name]


def paper_results_on_any_backbone(
    dataset: str, scenario: str, metric: str = TEST_LAST
) -> list[PaperResult]:
    """Return the paper's numbers for a dataset and scenario on any backbone."""
    setting = paper_setting_of(scenario)
    if setting is None:
        return []
    return [
        result
        for result in paper_results()
        if result.metric in METRICS.get(metric, ())
        and (result.mean is not None or "converge" in result.note)
        and _simplify(result.dataset) == _simplify(dataset)
        and result.noise_type == setting.noise_type
        and (setting.noise_type == REAL_NOISE or result.noise_rate == setting.noise_rate)
    ]


def _simplify(name: str) -> str:
    """Return the letters and digits before a bracket: "resnet34" for "ResNet-34 (32×32)"."""
    return re.sub(r"[^a-z0-9]", "", name.partition("(")[0].lower())
