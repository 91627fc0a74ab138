"""Accuracies that the NAL paper reports in its Tables 1 to 6, to quote beside measured ones."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from trainables.run.metrics import TEST_BEST_CLEAN_VAL, TEST_BEST_VAL, TEST_LAST

CITATION = "Lu, Bo and He, Noise Attention Learning, NeurIPS 2022"
"""Reference to the NAL paper, printed under tables that quote its accuracies."""

QUOTED_METHODS = ("NLNL",)
"""Methods that no study trains, but whose accuracies in the NAL paper are quoted in tables.

NLNL is not trained because a run takes about 3,000 epochs.
"""

STUDIES_BY_TABLE = {
    1: ("cifar10", "cifar100"),
    2: ("cifar10-pmd", "cifar100-pmd"),
    3: ("animal10n",),
    4: ("clothing1m",),
    5: ("webvision",),
    6: ("cifar10-ablation", "cifar100-ablation"),
}
"""Names of the shipped studies that make each table of the NAL paper, by the table's number."""

PAPER_STUDIES = frozenset(name for names in STUDIES_BY_TABLE.values() for name in names)
"""Names of the shipped studies whose recipes are those of the NAL paper."""

REAL_NOISE = "real"
"""Value of `PaperResult.noise_type` for real-world datasets, whose labels are noisy by nature."""

METRICS = {
    ("test_acc", "last-epoch"): (TEST_LAST,),
    ("test_acc", "noisy-validation"): (TEST_BEST_VAL,),
    ("test_acc", "clean-validation"): (TEST_BEST_CLEAN_VAL,),
    ("webvision_val_top1", "last-epoch"): (TEST_LAST, "test/webvision/top1_last"),
    ("webvision_val_top5", "last-epoch"): ("test/webvision/top5_last",),
    ("ilsvrc12_val_top1", "last-epoch"): ("test/imagenet/top1_last",),
    ("ilsvrc12_val_top5", "last-epoch"): ("test/imagenet/top5_last",),
}
"""Metrics of runs with the same meaning as a quoted accuracy, by its `metric` and `protocol`."""

PROTOCOL_TITLES = {
    "last-epoch": "last epoch",
    "noisy-validation": "epoch chosen by noisy validation",
    "clean-validation": "epoch chosen by clean validation",
    "best-test": "best test epoch",
    "unknown": "epoch unknown",
}
"""Title of each value of `PaperResult.protocol`."""

_METRIC_TITLES = {
    "test_acc": "",
    "webvision_val_top1": "webvision, top-1, ",
    "webvision_val_top5": "webvision, top-5, ",
    "ilsvrc12_val_top1": "imagenet, top-1, ",
    "ilsvrc12_val_top5": "imagenet, top-5, ",
}
"""Beginning of the title of each value of `PaperResult.metric`."""

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
        protocol: which epoch is reported: a key of `PROTOCOL_TITLES`.
        protocol_source: where the protocol is stated; "" if it is unknown.
        epochs: number of epochs of the training; None if unknown.
        convention: "incl" if symmetric noise may draw the true class, "excl" if it may not; "" if
            unknown, or for other noise.
        n: number of runs; None if unknown.
        quoted_from: publication that the paper quotes; "" for its own runs.
        note: further remark, such as a number that another source prints.
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
    protocol: str
    protocol_source: str
    epochs: int | None
    convention: str
    n: int | None
    quoted_from: str
    note: str

    @property
    def titles_by_metric(self) -> dict[str, str]:
        """Title of the accuracy by each metric of runs that it can be compared with.

        An accuracy that no run measures, such as that of the best test epoch, has a name of its
        own instead of such a metric.
        """
        title = _METRIC_TITLES[self.metric] + PROTOCOL_TITLES[self.protocol]
        metrics = METRICS.get((self.metric, self.protocol), (f"{self.metric}/{self.protocol}",))
        return dict.fromkeys(metrics, title)

    @property
    def is_printed(self) -> bool:
        """Whether the paper prints an accuracy, or that the method did not converge."""
        return self.mean is not None or "converge" in self.note


@dataclass(frozen=True, slots=True)
class PaperNoise:
    """Label noise of a scenario, described as in the tables of the NAL paper.

    Attributes:
        noise_type: type of noise, one of the values of `PaperResult.noise_type`.
        noise_rate: nominal noise rate, a fraction; 0 for real noise.
        includes_true_class: whether the noise is symmetric and may draw the true class again; in
            the paper's text, symmetric noise never does.
        variant: what distinguishes the scenario from the noise that publications describe: "each"
            if every label is flipped by chance, "official" for the one draw of NAL's public code,
            "keep" for PMD noise that divides the probability of keeping a label; "" for nothing.
    """

    noise_type: str
    noise_rate: float
    includes_true_class: bool
    variant: str = ""

    @property
    def convention(self) -> str:
        """Convention of symmetric noise: "incl" if it may draw the true class, else "excl"."""
        return "incl" if self.includes_true_class else "excl"


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
            protocol=row["protocol"],
            protocol_source=row["protocol_source"],
            epochs=int(row["epochs"]) if row["epochs"] else None,
            convention=row["convention"],
            n=int(row["n"]) if row["n"] else None,
            quoted_from=row["quoted_from"],
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
    variant = next((name for name in ("each", "official", "keep") if name in kind.split("-")), "")
    if kind.startswith("pmd"):
        noise_type = f"pmd-type-{kind[-1]}"
        return PaperNoise(noise_type, float(rate), includes_true_class=False, variant=variant)
    includes_true_class = kind.startswith(("symmetric-incl", "symmetric-official"))
    return PaperNoise(kind.partition("-")[0], float(rate), includes_true_class, variant)


OTHER_NOISE = "†"
"""Mark of a published accuracy for which `is_other_noise` holds."""

OTHER_NOISE_NOTE = (
    f"{OTHER_NOISE} marks an accuracy for symmetric noise that differs from this scenario's, or "
    "may differ, in whether it draws the true class."
)
"""Explanation of the mark `OTHER_NOISE` under a table."""


def is_other_noise(published: str, own: str) -> bool:
    """Return whether published symmetric noise differs, or may differ, from that of a scenario.

    Args:
        published: convention of the published noise: "incl", "excl", or "" if it is unknown.
        own: convention of the scenario: "incl" or "excl", as in the text of the NAL paper.
    """
    return published != own if own == "incl" else published == "incl"


def find_paper_results(dataset: str, scenario: str, backbone: str) -> list[PaperResult]:
    """Return the NAL paper's accuracies for a dataset, scenario and backbone, in the paper's order.

    Args:
        dataset: title of the dataset, or its name in studies, such as "CIFAR-10" or "cifar10".
        scenario: name of the scenario. The same accuracies are returned for `symmetric-R` and
            `symmetric-incl-R`, which `paper_noise_of` distinguishes.
        backbone: title of the backbone; "ResNet-34 (32×32)" matches the paper's "ResNet34".
    """
    results = find_paper_results_on_any_backbone(dataset, scenario)
    return [result for result in results if is_same_name(result.backbone, backbone)]


def find_paper_results_on_any_backbone(dataset: str, scenario: str) -> list[PaperResult]:
    """Return the NAL paper's accuracies for a dataset and scenario on all backbones."""
    noise = paper_noise_of(scenario)
    if noise is None:
        return []
    return [
        result
        for result in paper_results()
        if result.is_printed
        and is_same_name(result.dataset, dataset)
        and result.noise_type == noise.noise_type
        and (noise.noise_type == REAL_NOISE or result.noise_rate == noise.noise_rate)
    ]


def is_same_name(name: str, other_name: str) -> bool:
    """Return whether two spellings name one dataset or backbone, as "ResNet34" and "ResNet-34"."""
    return _normalise_name(name) == _normalise_name(other_name)


def _normalise_name(name: str) -> str:
    """Reduce a name to lower-case letters and digits: "ResNet-34 (32×32)" becomes "resnet34"."""
    return re.sub(r"[^a-z0-9]", "", name.partition("(")[0].lower())
