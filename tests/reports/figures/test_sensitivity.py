from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import make_cell
from figure_data import make_source

from reports.figures.sensitivity import collect_sensitivity, varied_panels
from reports.figures.source import MissingDataError

if TYPE_CHECKING:
    from pathlib import Path

VALUES = [(0.001, 0.9), (0.5, 0.9), (1000.0, 0.9), (0.5, 0.5), (0.5, 0.99)]
CELLS = [
    make_cell(seeds=(0, 1), values={"alpha": alpha, "lambda": lambda_}, origin="varied")
    for lambda_, alpha in VALUES
]


def test_one_hyperparameter_is_varied_at_a_time() -> None:
    accuracies = [[10.0, 14.0], [90.0, 92.0], [20.0], [], [80.0, 80.0]]
    lambda_panel, alpha_panel = varied_panels(CELLS, accuracies)
    assert (lambda_panel.name, lambda_panel.fixed) == ("lambda", {"alpha": 0.9})
    assert lambda_panel.band.x == (0.001, 0.5, 1000)
    assert lambda_panel.band.mean == (12, 91, 20)
    assert lambda_panel.band.std[:2] == pytest.approx((8**0.5, 2**0.5))
    assert lambda_panel.band.n == (2, 2, 1)
    assert (lambda_panel.is_logarithmic, lambda_panel.centre) == (True, 0.5)
    assert (alpha_panel.name, alpha_panel.fixed) == ("alpha", {"lambda": 0.5})
    assert (alpha_panel.band.x, alpha_panel.band.mean) == ((0.9, 0.99), (91, 80))
    assert (alpha_panel.is_logarithmic, alpha_panel.centre) == (False, 0.9)


def test_the_accuracies_are_those_of_the_last_epoch(tmp_path: Path) -> None:
    source = make_source([make_cell("ce", seeds=(0, 1)), *CELLS], tmp_path, accuracy=0.75)
    figure = collect_sensitivity(source)
    assert figure.panels[0].band.mean == (75, 75, 75)
    assert (figure.baseline.mean, figure.baseline.n) == ((75,), (2,))
    rows = list(figure.rows())
    assert len(rows) == 3 + 3 + 1
    assert rows[0] == {
        "method": "NAL",
        "hyperparameter": "lambda",
        "value": 0.001,
        "fixed": "α = 0.9",
        "mean": 75,
        "std": 0,
        "n": 2,
    }


def test_a_study_without_varied_values_has_no_sensitivity(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError) as caught:
        collect_sensitivity(make_source([make_cell()], tmp_path))
    assert str(caught.value) == (
        "study 'digits' varies no hyperparameter of NAL: sweep 'cifar10-sensitivity', or a study "
        "with `vary`"
    )
