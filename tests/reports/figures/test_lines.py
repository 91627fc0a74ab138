from __future__ import annotations

from math import isnan, nan

import pytest

from reports.figures.lines import Band, Line, LinePanel, line_rows, seeds_text


def test_a_band_is_mean_and_sample_deviation_of_the_seeds_with_a_value() -> None:
    band = Band.over_seeds([{1: 10.0, 3: 20.0}, {1: 14.0, 3: nan}, {3: 26.0, 2: 7.0}])
    assert (band.x, band.mean, band.n) == ((1, 2, 3), (12.0, 7.0, 23.0), (2, 1, 2))
    assert band.std[0] == pytest.approx(8**0.5)
    assert isnan(band.std[1])
    assert band.std[2] == pytest.approx(18**0.5)


def test_lines_have_one_row_for_each_position() -> None:
    band = Band((1.0, 2.0), (5.0, 6.0), (0.5, nan), (2, 1))
    rows = list(line_rows([LinePanel("NAL", "share (%)", (Line("memorised", "memorised", band),))]))
    assert rows[0] == {
        "panel": "NAL",
        "quantity": "share (%)",
        "line": "memorised",
        "epoch": 1.0,
        "mean": 5.0,
        "std": 0.5,
        "n": 2,
    }
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("counts", "text"), [([5, 5], "n = 5"), ([3, 5, 4], "n = 3 to 5"), ([], "n = 0")]
)
def test_numbers_of_seeds_are_a_range_if_they_differ(counts: list[int], text: str) -> None:
    assert seeds_text(counts) == text
