from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from documents import ROOT
from factories import cell_specs, make_cell, make_plan, make_result, make_spec
from stores import fresh_store

from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.views import VIEWS
from reports.store import open_store
from search_spaces.schema import Phase
from trainables.run.result import Status

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

EXPECTED_NAMES = {
    "trials better than 0.5": ["λ=0.5 α=0.9 nal symmetric-0.4 seed 1000"],
    "cells of a method": ["nal λ=0.5 α=0.9 symmetric-0.4"],
    "cells above an accuracy": ["ce symmetric-0.4", "nal λ=0.5 α=0.9 symmetric-0.4"],
    "diverged runs": ["λ=2 α=0.9 nal symmetric-0.4 seed 1000"],
    "trials that were stopped early": ["λ=5 α=0.9 nal symmetric-0.4 seed 1000"],
    "runs on a kind of device": 9,
    "λ in a range": 4,
    "learning rate above a value": 11,
    "seeds of a method and its λ": [
        "seed 0 nal λ=0.5 α=0.9 symmetric-0.4",
        "seed 1 nal λ=0.5 α=0.9 symmetric-0.4",
    ],
    "one seed of every method": [
        "seed 1 ce symmetric-0.4",
        "seed 1 nal λ=0.5 α=0.9 symmetric-0.4",
    ],
    "runs on the same data": 9,
}
"""Names, or number, of the MLflow runs that each filter in the document finds."""


def documented_filters() -> dict[str, str]:
    text = (ROOT / "docs" / "mlflow.md").read_text(encoding="utf-8").partition("## Filters")[2]
    rows = re.findall(r"^\| (.*?) \| `+(.*?)`+ \|$", text, re.MULTILINE)
    return dict(rows)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[MlflowClient, Experiment]:
    """Return a store with four trials, two cells of two seeds and a stage; and its experiment."""
    folder = tmp_path_factory.mktemp("store")
    uri = fresh_store(folder)
    cells = [make_cell(method, seeds=(0, 1)) for method in ("nal", "ce")]
    tracker = Tracker(uri, folder / "artifacts", "digits")
    tracker.start_sweep(make_plan(cells), "")
    for value, accuracy, end in ((0.5, 0.8, None), (0.1, 0.3, None), (2.0, 0.0, 2)):
        values = {"lambda": value, "alpha": 0.9}
        spec = make_spec(seed=1000, values=values, evaluate=["val"])
        tracker.record(make_result(spec, accuracy=accuracy, diverged_at=end), Phase.SEARCH)
    spec = make_spec(seed=1000, values={"lambda": 5.0, "alpha": 0.9}, evaluate=["val"])
    tracker.record(make_result(spec, status=Status.STOPPED), Phase.SEARCH)
    for cell in cells:
        for spec in cell_specs(cell.method, cell.scenario, cell.seeds, cell.values):
            tracker.record(make_result(spec), Phase.CONFIRM, cell)
    # The stage of a method is a confirm run without a cell.
    tracker.record(make_result(make_spec(method="joint-labels", seed=1)), Phase.CONFIRM)
    client = open_store(uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    return client, experiment


def found(store: tuple[MlflowClient, Experiment], condition: str, order: str = "") -> list[str]:
    client, experiment = store
    order_by = [f"{order} DESC"] if order else []
    runs = client.search_runs([experiment.experiment_id], condition, order_by=order_by)
    return [str(run.info.run_name) for run in runs]


def test_every_documented_filter_is_expected() -> None:
    assert list(documented_filters()) == list(EXPECTED_NAMES)


@pytest.mark.parametrize("title", EXPECTED_NAMES)
def test_a_documented_filter_finds_what_it_says(
    store: tuple[MlflowClient, Experiment], title: str
) -> None:
    names, expected = sorted(found(store, documented_filters()[title])), EXPECTED_NAMES[title]
    assert (len(names) if isinstance(expected, int) else names) == expected


def test_the_views_of_an_experiment_find_its_runs(
    store: tuple[MlflowClient, Experiment],
) -> None:
    counts = {}
    for view in VIEWS:
        state = json.loads(store[1].tags[view.tag])
        counts[view.name] = len(found(store, state["searchFilter"], state["orderByKey"]))
    assert counts == {"cells": 2, "trials": 4, "seeds": 4, "curves": 4}
    assert VIEWS[0].address("http://127.0.0.1:5000", "7") == (
        "http://127.0.0.1:5000/#/experiments/7/runs?viewStateShareKey=cells"
    )


def test_the_views_are_added_to_an_experiment_of_an_earlier_version(
    store: tuple[MlflowClient, Experiment], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("old")
    uri = fresh_store(folder)
    client = open_store(uri)
    client.create_experiment("digits", artifact_location=folder.as_uri())
    Tracker(uri, folder, "digits")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    names = {view.tag for view in VIEWS}
    assert {name: experiment.tags[name] for name in names} == {
        name: store[1].tags[name] for name in names
    }
