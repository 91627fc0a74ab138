from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import make_cell
from figure_data import make_source

from reports.figures.catalogue import FIGURES
from reports.figures.drawings.ranks import draw_ranks
from reports.figures.ranks import Ranks, collect_ranks
from reports.figures.source import MissingDataError
from reports.figures.style import render
from reports.ranks import compare_ranks

if TYPE_CHECKING:
    from pathlib import Path

ACCURACIES = {
    "NAL": [90.0, 91.0, 92.0, 93.0, 94.0, 95.0, 96.0, 97.0],
    "ELR": [89.0, 90.0, 91.0, 92.0, 93.0, 94.0, 95.0, 98.0],
    "Cross Entropy": [60.0, 61.0, 62.0, 63.0, 64.0, 65.0, 66.0, 67.0],
}


def test_the_rows_of_the_table_are_the_ranks_of_the_methods() -> None:
    comparison = compare_ranks(ACCURACIES, "last epoch")
    assert comparison.critical_difference is not None
    data = Ranks(comparison, comparison.critical_difference, "caption")
    assert [(row["method"], row["average rank"]) for row in data.rows()] == [
        ("NAL", 1.125),
        ("ELR", 1.875),
        ("Cross Entropy", 3.0),
    ]
    # Demšar 2006, Table 5: q = 2.343 for three methods; times the root of 3 * 4 / (6 * 8).
    assert data.critical_difference == pytest.approx(2.343 * 0.5, abs=1e-3)
    (svg,) = render(lambda: draw_ranks(data), "ranks", ["svg"]).values()
    assert b"<svg" in svg


def test_a_sweep_of_one_scenario_has_no_ranks(tmp_path: Path) -> None:
    cells = [make_cell(name, seeds=(0, 1)) for name in ("ce", "nal", "elr")]
    with pytest.raises(MissingDataError, match="Too few scenarios for a test"):
        collect_ranks(make_source(cells, tmp_path))
    assert "ranks" in FIGURES
