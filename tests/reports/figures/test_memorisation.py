from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from figure_data import EPOCHS, make_diagnostics, paper_source

from reports.figures.memorisation import collect_memorisation, memorisation_panels

if TYPE_CHECKING:
    from pathlib import Path


def test_panels_are_percentages_over_seeds() -> None:
    clean, mislabelled = memorisation_panels([make_diagnostics(0), make_diagnostics(0.1)], "NAL")
    wrong, correct = clean.lines
    assert correct.band.x == EPOCHS
    assert correct.band.mean == pytest.approx((55, 80, 95))
    assert correct.band.std == pytest.approx([50**0.5] * 3)
    assert wrong.band.mean == pytest.approx((45, 20, 5))
    assert wrong.band.std == correct.band.std
    assert {line.role: line.band.mean for line in mislabelled.lines} == {
        "correct": pytest.approx((55, 30, 5)),
        "memorised": pytest.approx((20, 45, 70)),
        "other": pytest.approx((25, 25, 25)),
    }


def test_the_figure_compares_cross_entropy_and_nal(tmp_path: Path) -> None:
    figure = collect_memorisation(paper_source(tmp_path))
    assert [panel.title for panel in figure.panels] == [
        "Cross Entropy, clean samples",
        "Cross Entropy, mislabelled samples",
        "NAL, clean samples",
        "NAL, mislabelled samples",
    ]
    assert len(list(figure.rows())) == 2 * (2 + 3) * len(EPOCHS)
    assert "n = 2" in figure.caption
