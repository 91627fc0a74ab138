"""The tables and figures of a small recorded sweep, compared exactly; see `golden/README.md`."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from golden import regenerate

from reports.paired import compare_paired


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return regenerate.render_files(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("suffix", regenerate.FORMATS)
def test_the_table_is_as_committed(files: dict[str, str], suffix: str) -> None:
    name = f"table{suffix}"
    expected = Path(regenerate.GOLDEN, name).read_bytes().decode()
    assert files[name] == expected, "if this is meant: python tests/golden/regenerate.py"


@pytest.mark.parametrize("key", ["1", "2", "3", "4", "curves"])
def test_the_numbers_of_a_figure_are_as_committed(files: dict[str, str], key: str) -> None:
    name = f"figure-{key}.csv"
    expected = Path(regenerate.GOLDEN, name).read_bytes().decode()
    assert files[name] == expected, "if this is meant: python tests/golden/regenerate.py"


def test_only_figures_without_data_are_left_out(files: dict[str, str]) -> None:
    committed = {path.name for path in regenerate.GOLDEN.glob("figure-*.csv")}
    assert {name for name in files if name.startswith("figure-")} == committed
    assert committed.isdisjoint({"figure-ranks.csv", "figure-response.csv"})  # too few runs


def test_a_p_value_is_that_of_another_program(files: dict[str, str]) -> None:
    accuracies: dict[str, dict[int, float]] = {}
    for row in csv.DictReader(files["table.csv"].splitlines()):
        if (row["accuracy"], row["quantity"]) == ("last epoch", "run"):
            accuracies.setdefault(row["row"], {})[int(row["seed"])] = float(row["value"])
    cross_entropy, tuned, *_ = accuracies.values()
    comparison = compare_paired(cross_entropy, tuned)
    assert comparison is not None
    assert comparison.t_p == pytest.approx(0.0029269142, abs=1e-9)
