"""Verdicts against the published accuracies: formulas, wording, and error rates by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports import verdict
from reports.aggregate import Statistic
from reports.paired import LEVEL, ROPE
from reports.verdict import Published, judge

OURS = [93.1, 93.4, 93.2, 93.6, 93.3]


@pytest.fixture
def no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let verdicts recommend no number of seeds, whose search takes most of a simulation's time."""
    monkeypatch.setattr(verdict, "MAX_SEEDS", 0)


def test_the_interval_is_that_of_welch() -> None:
    theirs = [93.0, 93.5, 93.9]
    published = Published(float(np.mean(theirs)), float(np.std(theirs, ddof=1)), 3)
    judged = judge(Statistic.of(OURS), published)
    interval = stats.ttest_ind(OURS, theirs, equal_var=False).confidence_interval(0.90)
    assert (judged.low, judged.high) == pytest.approx((interval.low, interval.high))
    assert judged.difference == pytest.approx(np.mean(OURS) - np.mean(theirs))


@pytest.mark.parametrize(
    ("values", "published", "kind"),
    [
        (OURS, Published(93.3, 0.1, 5), "reproduced"),
        (OURS, Published(95.0, 0.1, 5), "not reproduced"),
        (OURS, Published(91.0, 0.1, 5), "not reproduced"),
        (OURS, Published(93.75, 0.1, 5), "inconclusive"),
        (OURS, Published(93.3, 2.0, 3), "inconclusive"),
        (OURS, Published(93.3, 0.1, None), "reproduced"),
        (OURS, Published(93.3, None, None), "reproduced"),
        ([93.3], Published(93.3, 0.1, 5), "inconclusive"),
        ([], Published(93.3, 0.1, 5), "inconclusive"),
        ([93.0, 93.0, 93.0], Published(93.0, 0.0, 3), "reproduced"),
        ([93.0, 93.0, 93.0], Published(94.0, 0.0, 3), "not reproduced"),
        ([93.0, 93.0], Published(93.0, 0.0, 3), "inconclusive"),
    ],
)
def test_verdicts(values: list[float], published: Published, kind: str) -> None:
    assert judge(Statistic.of(values), published).kind == kind


def test_seeds_that_would_decide() -> None:
    published = Published(93.32, 0.0, 100)
    few = [92.8, 93.3, 93.86]
    judged = judge(Statistic.of(few), published)
    assert judged.kind == "inconclusive"
    count = int(judged.reason.removeprefix("about ").split()[0])
    std, distance = float(np.std(few, ddof=1)), ROPE - abs(np.mean(few) - 93.32)
    needed = next(n for n in range(4, 100) if std / n**0.5 * stats.t.isf(LEVEL, n - 1) < distance)
    assert count == needed - 3
    assert "not even 1000 seeds" in judge(Statistic.of(few), Published(93.3, 3.0, 2)).reason


@pytest.mark.usefixtures("no_advice")
@pytest.mark.parametrize("difference", [ROPE, -ROPE])
@pytest.mark.parametrize("published_n", [3, 5])
def test_wrong_verdicts_are_rare_at_the_margin(difference: float, published_n: int) -> None:
    """At a true difference equal to the margin, each verdict has at most its probability."""
    generator = np.random.default_rng(0)
    repetitions = 1_000
    counts = dict.fromkeys(("reproduced", "not reproduced", "inconclusive"), 0)
    for _ in range(repetitions):
        theirs = generator.normal(93.0, 0.1, published_n)
        ours = generator.normal(93.0 + difference, 0.15, 5)
        published = Published(float(theirs.mean()), float(theirs.std(ddof=1)), published_n)
        counts[judge(Statistic.of(list(ours)), published).kind] += 1
    limit = LEVEL + 3 * (LEVEL * (1 - LEVEL) / repetitions) ** 0.5
    assert counts["reproduced"] / repetitions < limit
    assert counts["not reproduced"] / repetitions < limit


@pytest.mark.usefixtures("no_advice")
def test_an_equal_method_is_mostly_reproduced() -> None:
    generator = np.random.default_rng(1)
    kinds = []
    for _ in range(300):
        theirs, ours = generator.normal(93.0, 0.1, 3), generator.normal(93.0, 0.15, 5)
        published = Published(float(theirs.mean()), float(theirs.std(ddof=1)), 3)
        kinds.append(judge(Statistic.of(list(ours)), published).kind)
    assert kinds.count("reproduced") / len(kinds) > 0.9
    assert kinds.count("not reproduced") == 0


@pytest.mark.usefixtures("no_advice")
@pytest.mark.parametrize("n", [2, 3, 5])
def test_wrong_verdicts_are_rare_if_no_deviation_is_published(n: int) -> None:
    generator = np.random.default_rng(2)
    repetitions = 1_000
    kinds = [
        judge(
            Statistic.of(list(generator.normal(93.5, 0.15, n))),
            Published(float(generator.normal(93.0, 0.15)), None, None),
        ).kind
        for _ in range(repetitions)
    ]
    limit = LEVEL + 3 * (LEVEL * (1 - LEVEL) / repetitions) ** 0.5
    assert kinds.count("not reproduced") / repetitions < limit
    assert kinds.count("reproduced") / repetitions < limit


def test_one_more_seed_may_decide_although_many_would_not() -> None:
    ours = [77.66, 77.86, 78.06]
    judged = judge(Statistic.of(ours), Published(77.79, 0.28, 3))
    assert judged.reason == "about 1 more seed"
