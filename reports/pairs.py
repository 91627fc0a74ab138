"""Differences of all pairs of rows of a comparison table, paired over the seeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from reports.paired import (
    ROPE,
    PairedComparison,
    compare_paired,
    correct_by_holm,
    smallest_wilcoxon_n,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.table import Entry, Row, Table

DECISIVE = 0.95
"""Smallest probability at which a pair is called better or equivalent, instead of undecided."""

PAIRS_NOTE = (
    "Differences in points with 95 % intervals, paired over the seeds. Better, equivalent: with a "
    f"probability of at least {DECISIVE:g}, where differences of up to {ROPE:g} points count as "
    f"none (Bayesian t-test). The signed-rank test needs at least {smallest_wilcoxon_n()} seeds."
)
"""Line to print under the differences of pairs."""


@dataclass(frozen=True, slots=True)
class RowPair:
    """Difference of two rows in one column, the more accurate one first.

    Attributes:
        scenario: name of the label-noise scenario.
        kind: title of the accuracy, such as "last epoch".
        first: name of the more accurate row.
        second: name of the other row.
        comparison: difference, first minus second.
        holm_p: p-value of the paired t-test, corrected for all pairs of the column.
    """

    scenario: str
    kind: str
    first: str
    second: str
    comparison: PairedComparison
    holm_p: float

    @property
    def summary(self) -> str:
        """The result in words, such as "better by 1.2 (0.4 to 2.0), P(better) 0.97"."""
        comparison = self.comparison
        interval = f"{comparison.mean:.2f} ({comparison.low:.2f} to {comparison.high:.2f})"
        if comparison.p_better >= DECISIVE:
            return f"better by {interval}, P(better) {comparison.p_better:.2f}"
        if comparison.p_equivalent >= DECISIVE:
            return f"equivalent: {interval}, P(equivalent) {comparison.p_equivalent:.2f}"
        return (
            f"undecided: {interval}, P(better) {comparison.p_better:.2f}, "
            f"P(equivalent) {comparison.p_equivalent:.2f}"
        )


def compare_rows(table: Table) -> list[RowPair]:
    """Compare all pairs of measured rows in each column of the first kind of accuracy.

    Pairs that share fewer than two finished seeds are left out.
    """
    if not table.sections:
        return []
    rows = [row for row in table.sections[0].rows if row.kind == "measured"]
    kind = headline_kind(rows)
    pairs = []
    for column in range(len(table.columns)):
        entries = [
            (name, row.entries[column])
            for name, row in zip(distinct_names(rows), rows, strict=True)
            if row.entries[column].runs and row.entries[column].kind == kind
        ]
        pairs += _compare_entries(entries)
    return pairs


def headline_kind(rows: Sequence[Row]) -> str:
    """Return the kind of accuracy that most entries of the first column have; "" for none.

    A published recipe may report another one.
    """
    kinds = Counter(row.entries[0].kind for row in rows if not row.entries[0].is_empty)
    return max(kinds, key=kinds.__getitem__, default="")


def distinct_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of rows; rows named alike are told apart by the origin of their values."""
    counts = Counter(row.name for row in rows)
    return [f"{row.name} ({row.marker})" if counts[row.name] > 1 else row.name for row in rows]


def _compare_entries(entries: list[tuple[str, Entry]]) -> list[RowPair]:
    """Compare all pairs of the entries of a column; entries of the same runs are no pair."""
    compared = []
    for (first_name, first), (second_name, second) in combinations(entries, 2):
        comparison = compare_paired(first.accuracy_by_seed, second.accuracy_by_seed)
        if comparison is None or first.runs == second.runs:
            continue
        if comparison.mean >= 0:
            compared.append((first_name, second_name, first, comparison))
        else:
            compared.append((second_name, first_name, first, comparison.reversed()))
    p_values = correct_by_holm([comparison.t_p for *_, comparison in compared])
    pairs = [
        RowPair(first.scenario, first.kind, first_name, second_name, comparison, p)
        for (first_name, second_name, first, comparison), p in zip(compared, p_values, strict=True)
    ]
    return sorted(pairs, key=lambda pair: pair.comparison.mean)
