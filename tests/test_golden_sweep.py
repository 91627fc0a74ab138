"""The table of a small recorded sweep, compared exactly; see `golden/README.md`."""

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


def test_a_p_value_is_that_of_another_program(files: dict[str, str]) -> None:
    accuracies: dict[str, dict[int, float]] = {}
    for row in csv.DictReader(files["table.csv"].splitlines()):
        if (row["accuracy"], row["quantity"]) == ("last epoch", "run"):
            accuracies.setdefault(row["row"], {})[int(row["seed"])] = float(row["value"])
    cross_entropy, tuned, *_ = accuracies.values()
    comparison = compare_paired(cross_entropy, tuned)
    assert comparison is not None
    assert comparison.t_p == pytest.approx(0.0029269142, abs=1e-9)
