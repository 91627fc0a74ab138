"""Average ranks of methods over scenarios, with Friedman's test and Nemenyi's critical difference.

J. Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.stats import friedmanchisquare, rankdata, studentized_range

from reports.paired import LEVEL
from reports.pairs import distinct_names, headline_kind
from reports.words import format_count, format_p_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.table import Table

MIN_METHODS = 3
"""Smallest number of methods that Friedman's test compares."""

VARIED = "varied"
"""Marker of rows with varied values, the best of which the test set would choose."""


@dataclass(frozen=True, slots=True)
class MethodRank:
    """Average rank of a row of a table.

    Attributes:
        name: name of the row.
        rank: mean of its ranks over the scenarios; 1 is the best, and ties share their ranks.
    """

    name: str
    rank: float


@dataclass(frozen=True, slots=True)
class RankComparison:
    """Average ranks of methods over scenarios.

    Attributes:
        kind: title of the ranked accuracy.
        scenario_count: number of scenarios N.
        methods: average ranks, the best first.
        left_out: names of the rows that lack the accuracy of a seed in a scenario.
        friedman_p: p-value of Friedman's test that all methods are equal; None if it cannot be
            tested.
        critical_difference: smallest difference of two average ranks that Nemenyi's test finds, at
            the level of all tests; None if it cannot be tested.
        groups: names of methods that cannot be told apart, one tuple for each largest group.
        obstacle: why nothing can be tested, and what number would do; "" if it can.
    """

    kind: str
    scenario_count: int
    methods: tuple[MethodRank, ...]
    left_out: tuple[str, ...]
    friedman_p: float | None
    critical_difference: float | None
    groups: tuple[tuple[str, ...], ...]
    obstacle: str = ""

    @property
    def statement(self) -> str:
        """The result in words, to print under the ranks."""
        texts = [self.obstacle] if self.obstacle else []
        if self.friedman_p is not None and self.critical_difference is not None:
            texts.append(
                f"Friedman's test over {self.scenario_count} scenarios: p-value "
                f"{format_p_value(self.friedman_p)}. Average ranks that differ by less than "
                f"{self.critical_difference:.2f} are not told apart (Nemenyi, {100 * LEVEL:g} %)."
            )
            if self.friedman_p > LEVEL:
                texts.append("Since Friedman's test finds no difference, none is to be read here.")
        if self.left_out:
            texts.append(
                f"Without this accuracy of all seeds in every scenario: {', '.join(self.left_out)}."
            )
        texts.append(
            "Scenarios of one dataset share its images and are not independent: ranks over them "
            "say nothing of other datasets."
        )
        return " ".join(texts)


def rank_rows(table: Table) -> RankComparison:
    """Rank the measured rows of a table in each scenario by their mean accuracy.

    Rows of varied values are no methods of their own and do not compete.

    Args:
        table: table of a sweep; its first section is ranked.
    """
    rows = [
        row
        for section in table.sections[:1]
        for row in section.rows
        if row.kind == "measured" and row.marker != VARIED
    ]
    kind = headline_kind(rows)
    # In a table of one scenario, other columns are other accuracies of the same runs.
    means = {
        name: {
            entry.scenario: entry.mean
            for entry in row.entries
            if entry.kind == kind and entry.mean is not None and not entry.remark
        }
        for name, row in zip(distinct_names(rows), rows, strict=True)
    }
    scenarios = dict.fromkeys(
        scenario for by_scenario in means.values() for scenario in by_scenario
    )
    complete = {
        name: [by_scenario[scenario] for scenario in scenarios]
        for name, by_scenario in means.items()
        if by_scenario.keys() == scenarios.keys()
    }
    left_out = tuple(name for name in means if name not in complete)
    return compare_ranks(complete, kind, left_out)


def compare_ranks(
    accuracies: dict[str, list[float]], kind: str = "", left_out: tuple[str, ...] = ()
) -> RankComparison:
    """Compare methods by their average ranks.

    Args:
        accuracies: accuracy of each method in each scenario, in one order of scenarios.
        kind: title of the accuracy.
        left_out: names of methods that cannot be ranked.
    """
    names, columns = list(accuracies), list(zip(*accuracies.values(), strict=True))
    n, k = len(columns), len(names)
    ranks = [rankdata([-value for value in column]) for column in columns]
    average = {name: math.fsum(each[i] for each in ranks) / n for i, name in enumerate(names) if n}
    ordered = sorted(average, key=average.__getitem__)
    methods = tuple(MethodRank(name, average[name]) for name in ordered)
    obstacle = _obstacle(n, k)
    if obstacle:
        return RankComparison(kind, n, methods, left_out, None, None, (), obstacle)
    difference = critical_difference(k, n)
    p_value = float(friedmanchisquare(*accuracies.values()).pvalue)
    return RankComparison(
        kind=kind,
        scenario_count=n,
        methods=methods,
        left_out=left_out,
        # Where all methods tie in all scenarios, the statistic is 0 / 0.
        friedman_p=1.0 if math.isnan(p_value) else p_value,
        critical_difference=difference,
        groups=_groups(methods, difference),
    )


def critical_difference(method_count: int, scenario_count: int) -> float:
    """Return the critical difference of average ranks by Nemenyi's test."""
    q = float(studentized_range.ppf(1 - LEVEL, method_count, math.inf)) / math.sqrt(2)
    return q * math.sqrt(method_count * (method_count + 1) / (6 * scenario_count))


def needed_scenario_count(method_count: int) -> int:
    """Return the smallest number of scenarios with which the best and worst method can differ."""
    return math.floor((critical_difference(method_count, 1) / (method_count - 1)) ** 2) + 1


def _obstacle(scenario_count: int, method_count: int) -> str:
    """Return why average ranks cannot be tested; "" if they can."""
    if method_count < MIN_METHODS:
        return (
            f"Ranks of {format_count(method_count, 'method')} in all scenarios: a test needs at "
            f"least {MIN_METHODS}."
        )
    needed = needed_scenario_count(method_count)
    if scenario_count >= needed:
        return ""
    return (
        f"Too few scenarios for a test: with {format_count(scenario_count, 'scenario')}, even a "
        f"method that always wins is not told from one that always loses; {method_count} methods "
        f"need at least {needed}."
    )


def _groups(methods: Sequence[MethodRank], difference: float) -> tuple[tuple[str, ...], ...]:
    """Return the largest runs of neighbouring methods whose ranks differ by less than a number."""
    groups: list[tuple[int, int]] = []
    for start, first in enumerate(methods):
        end = max(i for i, each in enumerate(methods) if each.rank - first.rank < difference)
        if end > start and (not groups or end > groups[-1][1]):
            groups.append((start, end))
    return tuple(tuple(each.name for each in methods[low : high + 1]) for low, high in groups)
