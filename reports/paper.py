"""The paper's own numbers, Tables 1 to 6, looked up by what they were measured on."""

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
"""What the paper prints where a method fails to converge."""

UNTRAINED = ("NLNL",)
"""Methods that are quoted wherever the paper has them, and not trained here: NLNL takes about 3,000
epochs."""

REAL = "real"
"""Noise that the paper's real-world data sets have by themselves."""

METRICS = {
    TEST_LAST: ("test_acc", "webvision_val_top1"),
    "test/webvision/top1_last": ("webvision_val_top1",),
    "test/webvision/top5_last": ("webvision_val_top5",),
    "test/imagenet/top1_last": ("ilsvrc12_val_top1",),
    "test/imagenet/top5_last": ("ilsvrc12_val_top5",),
}
"""The paper's words for a run's numbers."""

_SCENARIO = re.compile(
    r"(symmetric(?:-incl)?(?:-each)?|symmetric-official|asymmetric(?:-each|-official)?"
    r"|pmd(?:-keep)?-[123])-(0\.\d+)"
)


@dataclass(frozen=True, slots=True)
class PaperResult:
    """One number of the paper.

    Attributes:
        table: its number in the paper.
        dataset: as printed.
        noise_type: "symmetric", "asymmetric", "pmd-type-1" to 3, or "real".
        noise_rate: nominal, a fraction.
        backbone: as printed.
        method: as printed.
        metric: "test_acc", or one of mini-WebVision's four.
        mean: in percent; None where the paper prints ⊖.
        std: in percent, likewise.
        note: on where the number comes from.
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
class Setting:
    """A scenario in the paper's words.

    Attributes:
        noise_type: as `PaperResult` has it.
        noise_rate: nominal, a fraction; 0 where the noise is real.
        including: symmetric noise that may draw the true class again, which the paper's text
            excludes.
    """

    noise_type: str
    noise_rate: float
    including: bool


@cache
def paper_results() -> tuple[PaperResult, ...]:
    """Return every number of Tables 1 to 6."""
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


def setting_of(scenario: str) -> Setting | None:
    """Read a scenario's name in the paper's words; None for one that the paper has not."""
    if scenario == "clean":
        return Setting(REAL, 0.0, including=False)
    match = _SCENARIO.fullmatch(scenario)
    if match is None:
        return None
    kind, rate = match.groups()
    if kind.startswith("pmd"):
        return Setting(f"pmd-type-{kind[-1]}", float(rate), including=False)
    including = kind.startswith(("symmetric-incl", "symmetric-official"))
    return Setting(kind.partition("-")[0], float(rate), including)


def lookup(
    dataset: str, scenario: str, backbone: str, metric: str = TEST_LAST
) -> list[PaperResult]:
    """Return the paper's numbers for a dataset, scenario and backbone, in its order.

    Args:
        dataset: its title or the word used in studies: "CIFAR-10" or "cifar10".
        scenario: name of the label noise; `symmetric-incl-R` finds what `symmetric-R` does, see
            `setting_of` to tell them apart.
        backbone: its title: "ResNet-34 (32×32)" is the paper's "ResNet34".
        metric: a run's number, from `METRICS`.
    """
    name, results = _plain(backbone), measured_on(dataset, scenario, metric)
    return [result for result in results if _plain(result.backbone) == name]


def measured_on(dataset: str, scenario: str, metric: str = TEST_LAST) -> list[PaperResult]:
    """Return the paper's numbers for a dataset and scenario on any backbone."""
    setting = setting_of(scenario)
    if setting is None:
        return []
    return [
        result
        for result in paper_results()
        if result.metric in METRICS.get(metric, ())
        and (result.mean is not None or "converge" in result.note)
        and _plain(result.dataset) == _plain(dataset)
        and result.noise_type == setting.noise_type
        and (setting.noise_type == REAL or result.noise_rate == setting.noise_rate)
    ]


def _plain(name: str) -> str:
    """Return letters and digits before a bracket: "ResNet-34 (32×32)" is "resnet34"."""
    return re.sub(r"[^a-z0-9]", "", name.partition("(")[0].lower())
