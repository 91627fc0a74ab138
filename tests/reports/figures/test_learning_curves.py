from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import make_cell
from figure_data import make_source

from reports.figures.learning_curves import collect_learning_curves
from reports.figures.source import MissingDataError

if TYPE_CHECKING:
    from pathlib import Path


def test_every_row_with_histories_has_a_curve(tmp_path: Path) -> None:
    cells = [
        make_cell("ce", seeds=(0, 1)),
        make_cell("nal", seeds=(0, 1)),
        make_cell("elr", seeds=(0,)),
        make_cell("nal", seeds=(0,), values={"lambda": 9.0, "alpha": 0.9}, origin="varied"),
    ]
    first, second = cells[0].digests
    histories = {first: {1: 0.5, 6: 0.75}, second: {1: 0.25, 6: 0.75}}
    histories |= {digest: {6: 0.9} for cell in cells[1::2] for digest in cell.digests}
    figure = collect_learning_curves(make_source(cells, tmp_path, histories))
    cross_entropy, nal = figure.panel.lines
    assert (cross_entropy.label, nal.label) == ("Cross Entropy", "NAL, λ = 0.5, α = 0.9")
    assert cross_entropy.band.x == (1, 6)
    assert cross_entropy.band.mean == (37.5, 75)
    assert cross_entropy.band.std == pytest.approx((312.5**0.5, 0))
    assert nal.band.mean == pytest.approx((90,))


def test_without_histories_there_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no run of the confirm phase"):
        collect_learning_curves(make_source([make_cell("ce")], tmp_path))
