"""Tables and figures of small recorded sweeps, compared with golden files; see `golden/`."""

from __future__ import annotations

import csv
from itertools import chain
from pathlib import Path

import pytest
from golden import regenerate

from reports.figures.catalogue import FIGURES
from reports.paired import compare_paired

MEANT = "if this is meant: python tests/golden/regenerate.py"

TOLERANCES = {"lambda": 1e-10, "alpha": 1e-10, "mean": 1e-3, "std": 1e-3}
"""Absolute tolerances of the columns of the response's grid, which depend on the processor.

The position is computed by NumPy's exp and log, whose version for AVX-512 differs in the last
digit. Mean and standard deviation, in points, are those of a Gaussian process: another processor
rounds its matrix products otherwise, and the search for its kernel stops elsewhere. With the
routines of OpenBLAS, NumPy and glibc for five kinds of processors, they differed by at most 1e-6
points. The tolerance is a thousand times that, and a hundredth of the last digit in captions.
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return regenerate.render_tables(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return {
        study: regenerate.render_figures(study, tmp_path_factory.mktemp(study))
        for study in regenerate.FIGURES
    }


def golden(study: str, name: str) -> str:
    return Path(regenerate.ROOT, study, name).read_bytes().decode()


@pytest.mark.parametrize("suffix", regenerate.FORMATS)
def test_the_table_is_as_committed(tables: dict[str, str], suffix: str) -> None:
    name = f"table{suffix}"
    assert tables[name] == golden("digits", name), MEANT


@pytest.mark.parametrize(
    ("study", "key"),
    [
        (study, key)
        for study, keys in regenerate.FIGURES.items()
        for key in keys
        if key != "response"
    ],
)
def test_the_numbers_of_a_figure_are_as_committed(
    figures: dict[str, dict[str, str]], study: str, key: str
) -> None:
    name = f"figure-{key}.csv"
    assert figures[study][name] == golden(study, name), MEANT


def test_the_response_is_as_committed(figures: dict[str, dict[str, str]]) -> None:
    name = "figure-response.csv"
    rows = map(grid_numbers, csv.DictReader(figures["response"][name].splitlines()))
    golden_rows = map(grid_numbers, csv.DictReader(golden("response", name).splitlines()))
    expected = [
        {
            column: value
            if isinstance(value, str)
            else pytest.approx(value, rel=0, abs=TOLERANCES[column])
            for column, value in row.items()
        }
        for row in golden_rows
    ]
    assert list(rows) == expected, MEANT


def grid_numbers(row: dict[str, str]) -> dict[str, float | str]:
    """Return a row of the response with numbers in place of the texts that have a tolerance."""
    is_grid = row["kind"] == "grid"
    return {
        column: float(text) if is_grid and column in TOLERANCES else text
        for column, text in row.items()
    }


def test_every_figure_has_golden_numbers() -> None:
    assert set(chain(*regenerate.FIGURES.values())) == set(FIGURES)
    for study, keys in regenerate.FIGURES.items():
        files = {path.name for path in Path(regenerate.ROOT, study).glob("figure-*")}
        assert files == {f"figure-{key}.csv" for key in keys}


def test_a_p_value_is_that_of_another_program(tables: dict[str, str]) -> None:
    accuracies: dict[str, dict[int, float]] = {}
    for row in csv.DictReader(tables["table.csv"].splitlines()):
        if (row["accuracy"], row["quantity"]) == ("last epoch", "run"):
            accuracies.setdefault(row["row"], {})[int(row["seed"])] = float(row["value"])
    cross_entropy, tuned, *_ = accuracies.values()
    comparison = compare_paired(cross_entropy, tuned)
    assert comparison is not None
    assert comparison.t_p == pytest.approx(0.0029269142, abs=1e-9)
