"""Average ranks: Demšar's numbers, groups, and what cannot be tested."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from reports.ranks import compare_ranks, critical_difference, needed_scenario_count, rank_rows
from reports.table import Entry, Row, Section, Table, TableSource

# Demšar (2006), Table 6: C4.5 and three variants on 14 datasets.
_TEXT = """\
C4.5 .763 .599 .954 .628 .882 .936 .661 .583 .775 1. .94 .619 .972 .957
C4.5+m .768 .591 .971 .661 .888 .931 .668 .583 .838 1. .962 .666 .981 .978
C4.5+cf .771 .590 .968 .654 .886 .916 .609 .563 .866 1. .965 .614 .9751 .946
C4.5+m+cf .798 .569 .967 .657 .898 .931 .685 .625 .875 1. .962 .669 .975 .970
"""
C45 = {
    name: [float(number) for number in numbers]
    for name, *numbers in (line.split() for line in _TEXT.splitlines())
}


def test_ranks_and_critical_difference_are_demsars() -> None:
    comparison = compare_ranks(C45)
    ranks = {each.name: each.rank for each in comparison.methods}
    expected = {"C4.5": 3.143, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert ranks == pytest.approx(expected, abs=5e-4)
    # q = 2.569 for four methods, CD = 1.25 for 14 datasets.
    assert comparison.critical_difference == pytest.approx(2.569 * (20 / 84) ** 0.5, abs=1e-3)
    assert comparison.friedman_p == pytest.approx(stats.friedmanchisquare(*C45.values()).pvalue)
    assert comparison.groups == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)


def test_groups_are_the_largest_runs_below_the_critical_difference() -> None:
    a, b, c = [5.0] * 20, [4.0] * 10 + [3.0] * 10, [3.0] * 10 + [4.0] * 10
    comparison = compare_ranks({"a": a, "b": b, "c": c})
    assert comparison.groups == (("b", "c"),)
    assert comparison.friedman_p is not None
    assert comparison.friedman_p < 0.001


@pytest.mark.parametrize("k", [3, 5, 10])
def test_the_needed_number_is_the_first_that_can_decide(k: int) -> None:
    n = needed_scenario_count(k)
    assert critical_difference(k, n) < k - 1 <= critical_difference(k, n - 1)


def table_of(accuracies: dict[str, list[float | None]], marker: str = "") -> Table:
    rows = tuple(
        Row(
            name,
            name,
            marker,
            "measured",
            tuple(Entry(f"s{i}", "last epoch", mean=v, n=1) for i, v in enumerate(values)),
        )
        for name, values in accuracies.items()
    )
    source = TableSource("mine", "ab" * 32, "finished", "digits", "MLP")
    return Table(source, "", "", ("a", "b"), (Section("", rows),), ())


def test_too_few_scenarios_are_said_with_the_number() -> None:
    comparison = rank_rows(table_of({"a": [3.0, 3.0], "b": [2.0, 2.0], "c": [1.0, 1.0]}))
    assert [each.rank for each in comparison.methods] == [1.0, 2.0, 3.0]
    assert comparison.critical_difference is None
    assert "with 2 scenarios" in comparison.statement
    assert "3 methods need at least 3." in comparison.statement
    assert "not independent" in comparison.statement


def test_rows_without_an_accuracy_in_a_scenario_are_named() -> None:
    comparison = rank_rows(table_of({"a": [3.0, 3.0], "b": [2.0, None]}))
    assert comparison.left_out == ("b",)
    assert "Without this accuracy of all seeds in every scenario: b." in comparison.statement
    assert rank_rows(table_of({"a": [1.0]}, marker="varied")).methods == ()


def test_a_published_recipe_that_reports_another_epoch_is_not_ranked_with_the_others() -> None:
    table = table_of({"a": [3.0, 3.0], "b": [2.0, 2.0], "c": [9.0, 9.0]})
    section = table.sections[0]
    other = replace(
        section.rows[2],
        entries=tuple(replace(each, kind="best epoch") for each in section.rows[2].entries),
    )
    rows = (*section.rows[:2], other)
    comparison = rank_rows(replace(table, sections=(replace(section, rows=rows),)))
    assert [each.name for each in comparison.methods] == ["a", "b"]
    assert comparison.left_out == ("c",)
