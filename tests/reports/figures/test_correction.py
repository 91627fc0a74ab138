from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from figure_data import make_diagnostics, paper_source

from reports.figures.correction import collect_correction, pooled_matrices

if TYPE_CHECKING:
    from pathlib import Path


def test_matrices_are_of_the_samples_of_all_seeds_together() -> None:
    first = make_diagnostics(arrays={"matrix/attention": [[0.9, 0.1], [0.2, 0.8]]})
    second = make_diagnostics(
        arrays={
            "matrix/attention": [[0.5, np.nan], [0.2, 0.6]],
            "matrix/noisy": [[1, 0], [2, 2]],
            "matrix/corrected": [[1, 0], [4, 0]],
        }
    )
    matrices = pooled_matrices([first, second])
    assert list(matrices) == ["attention", "noisy", "corrected"]
    # (3 · 0.9 + 1 · 0.5) / 4 and (1 · 0.1) / 1
    assert matrices["attention"] == pytest.approx(np.array([[0.8, 0.1], [0.2, 0.7]]))
    assert matrices["noisy"] == pytest.approx(np.array([[0.8, 0.2], [0.5, 0.5]]))
    assert matrices["corrected"] == pytest.approx(np.array([[1, 0], [5 / 8, 3 / 8]]))


def test_a_class_pair_without_samples_has_no_mean() -> None:
    empty = make_diagnostics(arrays={"matrix/noisy": [[4, 0], [0, 0]]})
    matrices = pooled_matrices([empty])
    assert np.isnan(matrices["attention"]).tolist() == [[False, True], [True, True]]
    assert matrices["noisy"].tolist() == [[1, 0], [0, 0]]


def test_the_accuracy_is_a_percentage(tmp_path: Path) -> None:
    figure = collect_correction(paper_source(tmp_path))
    (line,) = figure.accuracy.lines
    assert line.label == "symmetric 40 %"
    assert line.band.mean == pytest.approx((67.5, 80, 92.5))
    rows = list(figure.rows())
    assert len(rows) == 3 * 4 + 3
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert rows[4] | {"panel": ""} == dict.fromkeys(rows[0], "") | {
        "true_class": 0,
        "class": 0,
        "value": 0.75,
    }
