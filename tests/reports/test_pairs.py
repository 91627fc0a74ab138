"""Differences of all pairs of rows: order, words and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.pairs import compare_rows
from reports.table import Entry, Row, Section, SeedAccuracy, Table, TableSource

ACCURACIES: dict[str, tuple[float, ...]] = {
    "NAL": (93.0, 94.0, 95.0),
    "ELR": (91.8, 93.0, 93.9),
    "SAT": (92.9, 94.05, 95.0),
    "CE": (60.0, 72.0, 93.0),
}


def entry(accuracies: tuple[float, ...], kind: str = "last epoch") -> Entry:
    runs = tuple(SeedAccuracy(n, value, f"{n}") for n, value in enumerate(accuracies))
    return Entry("clean", kind, mean=sum(accuracies) / len(accuracies), n=len(runs), runs=runs)


def table_of(accuracies: dict[str, tuple[float, ...]]) -> Table:
    rows = [
        Row(name.lower(), name, "", "measured", (entry(values), entry(values, "mean")))
        for name, values in accuracies.items()
    ]
    rows.append(Row("", "NAL", "paper", "quoted", (entry((99.0, 99.0)), Entry())))
    source = TableSource("mine", "ab" * 32, "finished", "digits", "MLP")
    return Table(source, "", "", ("last epoch", "mean"), (Section("", tuple(rows)),), ())


def test_every_pair_is_compared_once_with_the_better_one_first() -> None:
    pairs = compare_rows(table_of(ACCURACIES))
    assert [(pair.first, pair.second) for pair in pairs] == [
        ("NAL", "SAT"),
        ("SAT", "ELR"),
        ("NAL", "ELR"),
        ("ELR", "CE"),
        ("SAT", "CE"),
        ("NAL", "CE"),
    ]
    assert {pair.kind for pair in pairs} == {"last epoch"}
    assert all(pair.holm_p >= pair.comparison.t_p for pair in pairs)


@pytest.mark.parametrize(
    ("second", "summary"),
    [
        ("ELR", "better by 1.10 (0.85 to 1.35), P(better) 1.00"),
        ("SAT", "equivalent: 0.02 (-0.17 to 0.21), P(equivalent) 0.99"),
        ("CE", "undecided: 19.00 (-20.04 to 58.04), P(better) 0.91, P(equivalent) 0.01"),
    ],
)
def test_results_are_put_into_words(second: str, summary: str) -> None:
    (pair,) = compare_rows(table_of({name: ACCURACIES[name] for name in ("NAL", second)}))
    assert pair.summary == summary


def test_one_seed_and_empty_tables_have_no_pairs() -> None:
    assert compare_rows(table_of({"NAL": (93.0,), "CE": (60.0,)})) == []
    assert compare_rows(table_of({})) == []


def test_rows_named_alike_are_told_apart_by_their_origin() -> None:
    table = table_of({"NAL": (93.0, 94.0), "CE": (90.0, 91.5)})
    (section,) = table.sections
    rows = [
        replace(row, name="NAL", marker=marker)
        for row, marker in zip(section.rows[:2], ("tuned", "fixed"), strict=True)
    ]
    (pair,) = compare_rows(replace(table, sections=(replace(section, rows=tuple(rows)),)))
    assert (pair.first, pair.second) == ("NAL (tuned)", "NAL (fixed)")
