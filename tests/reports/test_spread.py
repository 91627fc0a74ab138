"""What ± is: each measure against its formula, and what tables print."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest
from scipy import stats

from reports.formats import FORMATS, format_csv, format_json
from reports.spread import Spread
from reports.table import Entry, Row, Section, SeedAccuracy, Table, TableSource

VALUES = [93.1, 93.4, 93.2, 93.6]
STD = float(stats.tstd(VALUES))
EXPECTED = {
    Spread.SD: STD,
    Spread.SE: float(stats.sem(VALUES)),
    Spread.CI95: float(stats.t.interval(0.95, 3, 0.0, stats.sem(VALUES))[1]),
    Spread.SD0: math.sqrt(sum((v - 93.325) ** 2 for v in VALUES) / 4),
}


def table_with(spread: Spread) -> Table:
    runs = (SeedAccuracy(0, 92.5, "a" * 64), SeedAccuracy(7, 94.5, "b" * 64))
    entry = Entry("clean", "last epoch", mean=93.5, std=1.41421, n=2, runs=runs, spread=spread)
    row = Row("nal", "NAL", "fixed", "measured", (entry,))
    source = TableSource("mine", "ab" * 32, "finished", "digits", "MLP")
    return Table(source, "t", "s", ("last epoch",), (Section("", (row,)),), (), spread=spread)


@pytest.mark.parametrize("spread", Spread)
def test_measures_equal_their_formulas(spread: Spread) -> None:
    assert spread.of(STD, 4) == pytest.approx(EXPECTED[spread], rel=1e-12)
    assert spread.of(None, 1) is None


@pytest.mark.parametrize("spread", Spread)
def test_one_run_has_no_spread(spread: Spread) -> None:
    assert Entry("clean", "last epoch", mean=63.17, n=1, spread=spread).text == "63.17 ± –"


def test_published_numbers_are_as_printed() -> None:
    quoted = Entry("clean", "last epoch", mean=93.49, std=0.07, n=5, spread=None)
    assert (quoted.text, quoted.plus_minus) == ("93.49 ± 0.07", 0.07)
    assert Entry("clean", "last epoch", mean=93.49, spread=None).text == "93.49"


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if suffix != ".csv"])
def test_every_format_prints_the_chosen_measure(suffix: str) -> None:
    table = table_with(Spread.SE)
    text = FORMATS[suffix](table)
    assert "1.00" in text  # 1.41421 / √2
    assert "1.41 " not in text


def test_csv_and_json_name_the_measure() -> None:
    table = table_with(Spread.CI95)
    numbers = {
        line["quantity"]: line["value"] for line in csv.DictReader(io.StringIO(format_csv(table)))
    }
    half_width = 12.7062 * 1.41421 / math.sqrt(2)
    assert float(numbers["half of the 95 % interval"]) == pytest.approx(half_width, rel=1e-4)
    assert numbers["standard deviation"] == "1.41421"
    values = json.loads(format_json(table))
    entry = values["sections"][0]["rows"][0]["entries"][0]
    assert (values["spread"], entry["spread"], entry["std"]) == ("ci95", "ci95", 1.41421)
    assert entry["plus_minus"] == pytest.approx(half_width, rel=1e-4)
