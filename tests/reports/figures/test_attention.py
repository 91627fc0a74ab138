from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import make_cell
from figure_data import TRUE, make_diagnostics, make_source, paper_source, write_diagnostics

from reports.figures.attention import attention_panel, collect_attention

if TYPE_CHECKING:
    from pathlib import Path


def test_shares_are_of_all_samples_and_mean_over_seeds() -> None:
    first = make_diagnostics(histogram=[[[1, 4], [3, 0]]])
    second = make_diagnostics(histogram=[[[0, 2], [2, 0]]], last_attention=[2.0] * 8)
    panel = attention_panel("40 %", [first, second], is_logarithmic=False)
    assert list(panel.shares) == ["clean", "mislabelled"]
    assert panel.shares["clean"] == pytest.approx((6.25, 50))
    assert panel.shares["mislabelled"] == pytest.approx((43.75, 0))
    # The first run tells all wrong labels apart, the second none.
    assert panel.aurocs == (1.0, 0.5)
    assert panel.auroc_mean == 0.75
    assert panel.auroc_std == pytest.approx(0.125**0.5)
    assert panel.n == 2


def test_without_true_or_wrong_labels_there_is_no_auroc() -> None:
    unknown = make_diagnostics(true=None, histogram=[[[2, 6]]])
    panel = attention_panel("", [unknown], is_logarithmic=False)
    assert panel.shares["all"] == pytest.approx((25, 75))
    assert panel.aurocs == ()
    assert attention_panel("", [make_diagnostics(given=TRUE)], is_logarithmic=False).aurocs == ()


def test_every_scenario_with_diagnostics_has_a_panel(tmp_path: Path) -> None:
    cells = [make_cell("nal", f"symmetric-0.{n}", seeds=(0,)) for n in (2, 4, 6)]
    for cell in cells[:2]:
        write_diagnostics(tmp_path, cell, [0])
    figure = collect_attention(make_source(cells, tmp_path))
    assert [panel.title for panel in figure.panels] == ["symmetric 20 %", "symmetric 40 %"]
    assert not figure.is_logarithmic
    assert len(list(figure.rows())) == 2 * 2 * 50


def test_weights_close_to_one_are_shown_by_their_distance(tmp_path: Path) -> None:
    source = paper_source(tmp_path)
    cell = source.plan.cells[1]
    for digest in cell.digests:
        (tmp_path / "runs" / digest / "diagnostics.npz").unlink()
        (tmp_path / "runs" / digest).rmdir()
    write_diagnostics_with_large_weights(tmp_path, cell.digests)
    figure = collect_attention(source)
    assert figure.is_logarithmic
    assert figure.x_label == "log10(1 − τ)"
    assert len(figure.edges) == 41


def write_diagnostics_with_large_weights(home: Path, digests: list[str]) -> None:
    import numpy as np

    for digest in digests:
        folder = home / "runs" / digest
        folder.mkdir()
        arrays = dict(make_diagnostics(last_attention=[5.0] * 8).arrays)
        np.savez(folder / "diagnostics.npz", **arrays)  # type: ignore[arg-type]
