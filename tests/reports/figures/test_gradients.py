from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import make_cell
from figure_data import TRUE, make_diagnostics, make_source, paper_source

from reports.figures.gradients import collect_gradients, gradient_parts
from reports.figures.source import MissingDataError

if TYPE_CHECKING:
    from pathlib import Path


def test_parts_are_weighted_by_the_share_of_samples() -> None:
    parts = gradient_parts(make_diagnostics())
    assert parts["clean"].tolist() == pytest.approx([1.0, 0.5, 0.25])
    assert parts["mislabelled"].tolist() == pytest.approx([0.6, 0.6, 0.75])


def test_a_group_without_samples_has_no_part() -> None:
    parts = gradient_parts(make_diagnostics(given=TRUE))
    assert list(parts) == ["clean"]
    assert parts["clean"].tolist() == pytest.approx([1.6, 0.8, 0.4])


def test_the_share_is_that_of_mislabelled_samples(tmp_path: Path) -> None:
    figure = collect_gradients(paper_source(tmp_path))
    *_, share = figure.panels
    assert [line.label for line in share.lines] == ["Cross Entropy", "NAL"]
    assert share.lines[1].band.mean == pytest.approx((37.5, 60 / 1.1, 75))
    assert figure.noise_rate == pytest.approx(3 / 8)


def test_the_home_of_the_runs_is_needed(tmp_path: Path) -> None:
    source = make_source([make_cell("ce", seeds=(0, 1)), make_cell("nal")], tmp_path)
    with pytest.raises(MissingDataError) as caught:
        collect_gradients(source)
    assert str(caught.value) == (
        "the home folder lacks the 2 runs of ce on symmetric-0.4, whose diagnostics.npz holds the "
        "data: choose the home folder of the sweep"
    )
