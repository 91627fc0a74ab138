from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from factories import make_cell, make_plan, make_result, make_spec
from figure_data import make_source
from recorded import recorded_runs

from reports.figures.response import Axis, collect_response, fit_response
from reports.figures.source import MissingDataError
from reports.plan_record import ReferenceRecord, TuningRecord
from trainables.run.parameters import ChoiceSpace, Space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reports.figures.source import FigureSource
    from trainables.run.parameters import AnySpace

LAMBDAS = (0.05, 0.2, 1.0, 2.0, 5.0, 20.0)
REFERENCE: dict[str, Any] = {"lambda": 0.5, "alpha": 0.9}


def search_source(
    home: Path,
    space: Mapping[str, AnySpace],
    accuracies: Sequence[float | None],
    alphas: Sequence[float] = (0.9,) * 6,
) -> FigureSource:
    """Return a source with one trial for each accuracy; a trial with None diverged."""
    specs = [
        make_spec(seed=1000, values={"lambda": lambda_, "alpha": alpha}, evaluate=("val",))
        for lambda_, alpha, _ in zip(LAMBDAS, alphas, accuracies, strict=False)
    ]
    results = [
        make_result(spec, diverged_at=2)
        if accuracy is None
        else make_result(spec, accuracy=accuracy)
        for spec, accuracy in zip(specs, accuracies, strict=True)
    ]
    runs = {
        run.digest: replace(run, metrics={**run.metrics, "hp/lambda": lambda_, "hp/alpha": alpha})
        for run, lambda_, alpha in zip(recorded_runs(results), LAMBDAS, alphas, strict=False)
    }
    search = TuningRecord(
        method="nal",
        method_title="NAL",
        scenario="symmetric-0.4",
        serves=["symmetric-0.4"],
        space=space,
        trials=len(specs),
        digests=[spec.digest for spec in specs],
        reference=ReferenceRecord(REFERENCE, "/home/someone/mine.yaml:7"),
        chosen={"lambda": 2.0, "alpha": 0.9},
    )
    cells = [make_cell("nal")]
    source = make_source(cells, home)
    return replace(source, plan=make_plan(cells, searches=[search]), runs=runs)


CLAMPS = ChoiceSpace((False, True))
SPACE = {"alpha": Space(0.5, 0.99), "lambda": Space(0.05, 20, log=True)}


def test_trials_are_read_with_their_objective(tmp_path: Path) -> None:
    accuracies = (0.5, 0.6, 0.7, 0.8, None, 0.6)
    alphas = (0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
    response = collect_response(search_source(tmp_path, SPACE, accuracies, alphas))
    assert [axis.name for axis in response.axes] == ["lambda", "alpha"]
    assert response.trials == tuple(zip(LAMBDAS, alphas, strict=True))
    # The last three epochs of a made-up run are 0.02 and 0 below, and 0.01 above its accuracy; a
    # diverged one counts as chance.
    offset = 100 * -0.01 / 3
    assert response.accuracies == pytest.approx(
        [50 + offset, 60 + offset, 70 + offset, 80 + offset, 10, 60 + offset]
    )
    assert response.best == 3
    assert (response.chosen, response.reference) == ((2.0, 0.9), (0.5, 0.9))
    assert len(response.grid) == len(response.mean) == len(response.margin) == 41**2
    assert response.grid[0] == pytest.approx((0.05, 0.5))
    assert response.grid[1][1] == pytest.approx(0.5)
    assert response.grid[-1] == pytest.approx((20, 0.99))
    assert response.tied[int(np.argmax(response.mean))]
    assert "someone" not in response.caption
    rows = list(response.rows())
    assert [row["kind"] for row in rows[:9]] == [
        *["trial"] * 3,
        "best trial",
        *["trial"] * 2,
        "chosen",
        "reference",
        "grid",
    ]


def test_one_hyperparameter_has_a_curve(tmp_path: Path) -> None:
    response = collect_response(
        search_source(tmp_path, {"lambda": SPACE["lambda"]}, (0.3, 0.5, 0.8, 0.9, 0.7, 0.2))
    )
    assert len(response.grid) == 101
    assert 1 < response.grid[int(np.argmax(response.mean))][0] < 5
    assert 0.5 not in {x for (x,), tied in zip(response.grid, response.tied, strict=True) if tied}


def test_the_axes_are_the_numbers_that_every_trial_has(tmp_path: Path) -> None:
    spaces: dict[str, AnySpace] = {
        "clamps": CLAMPS,
        "delta": Space(0, 0.5, when={"clamps": (True,)}),
        "lambda": SPACE["lambda"],
    }
    response = collect_response(search_source(tmp_path, spaces, (0.3, 0.5, 0.8, 0.9, 0.7, 0.2)))
    assert [axis.name for axis in response.axes] == ["lambda"]
    assert response.trials == tuple((value,) for value in LAMBDAS)
    assert " Searched too, and not shown: clamps, delta. " in response.caption


@pytest.mark.parametrize(
    ("space", "accuracies", "message"),
    [
        (
            SPACE,
            (0.5,) * 5,
            "the response of NAL needs at least 6 trials of its search, of which 5 are recorded: "
            "sweep with more trials",
        ),
        (
            {**SPACE, "learning_rate": Space(0.01, 1)},
            (0.5,) * 6,
            "the search of NAL has 3 hyperparameters: the response can be drawn for one or two",
        ),
        (
            {"lambda": Space(0.05, 20, when={"clamps": (True,)}), "clamps": CLAMPS},
            (0.5,) * 6,
            "the search of NAL has 0 hyperparameters that are numbers in every trial: the response "
            "can be drawn for one or two",
        ),
    ],
)
def test_searches_that_cannot_be_drawn(
    tmp_path: Path, space: dict[str, AnySpace], accuracies: tuple[float, ...], message: str
) -> None:
    with pytest.raises(MissingDataError) as caught:
        collect_response(search_source(tmp_path, space, accuracies))
    assert str(caught.value) == message


def test_a_study_without_search_has_no_response(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="searches no values of NAL"):
        collect_response(make_source([make_cell("nal")], tmp_path))


def test_the_posterior_is_close_to_many_exact_observations() -> None:
    points = np.linspace(0, 1, 15)[:, None]
    grid = np.linspace(0, 1, 29)[:, None]
    fit = fit_response(points, 50 + 20 * np.sin(3 * points[:, 0]), grid, min_noise=0.1)
    assert fit.mean == pytest.approx(50 + 20 * np.sin(3 * grid[:, 0]), abs=0.2)
    assert fit.std.max() < 0.3
    assert fit.noise == pytest.approx(0.1, rel=0.5)
    # sin(3 x) is highest at x = π/6.
    tied = grid[fit.margin >= 0, 0]
    assert tied.min() > 0.4
    assert tied.max() < 0.6


def test_noise_hides_small_differences() -> None:
    points = np.linspace(0, 1, 6)[:, None]
    fit = fit_response(points, np.array([60.0, 60.5, 59.8, 60.2, 60.9, 60.1]), points, 2.4)
    assert fit.noise >= 2.39
    assert (fit.margin >= 0).all()


def test_axes_are_scaled_by_their_logarithm() -> None:
    axis = Axis("lambda", 0.1, 10, log=True)
    assert axis.to_unit([0.1, 1, 10]).tolist() == pytest.approx([0, 0.5, 1])
    assert axis.from_unit(np.array([0, 0.5, 1])).tolist() == pytest.approx([0.1, 1, 10])
    linear = Axis("alpha", 0.5, 0.9, log=False)
    assert linear.to_unit([0.5, 0.6]).tolist() == pytest.approx([0, 0.25])
    assert linear.from_unit(np.array([0.25])).tolist() == pytest.approx([0.6])
