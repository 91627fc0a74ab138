from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan, make_result, text_hash
from fake_runs import record_run
from recorded_runs import create_home
from stores import fresh_store

from orchestrator.flags import Locations
from orchestrator.reproduction.finding import find_runs
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.tracker import Tracker
from reports.store import open_store
from search_spaces.schema import Phase
from trainables.errors import HomeError, ServiceError, UserError

if TYPE_CHECKING:
    from pathlib import Path

TUNED = make_cell(values={"lambda": 2.0, "alpha": 0.8}, origin="tuned", seeds=(0, 1))
REFERENCE = make_cell(origin="reference", seeds=(0, 1))
CE = make_cell("ce", seeds=(0, 1))


@pytest.fixture
def locations(tmp_path: Path) -> Locations:
    """Locations of a home folder with a sweep, of which seed 1 of `ce` has not ended."""
    home = create_home(tmp_path / "home")
    plan = make_plan([TUNED, REFERENCE, CE])
    SweepArchive.of(home.path, plan.sweep).write(plan, "")
    for cell in (TUNED, REFERENCE, CE):
        for spec in cell_specs(cell.method, cell.scenario, cell.seeds, cell.values):
            if (cell, spec.seeds.init) != (CE, 1):
                record_run(home.path, spec)
    return Locations(home_dir=home.path)


def message(name: str, locations: Locations) -> str:
    with pytest.raises(UserError) as caught:
        find_runs(name, locations)
    return str(caught.value)


def test_a_run_is_found_by_the_beginning_of_its_digest(locations: Locations) -> None:
    digest = TUNED.digests[0]
    for length in (12, 32, 64):
        assert find_runs(digest[:length], locations) == [digest]
    assert "has a digest that begins with 'nothing'" in message("nothing", locations)


def test_a_cell_stands_for_all_its_seeds(locations: Locations) -> None:
    sweep = text_hash("sweep")[:8]
    for study in ("digits", sweep):
        name = f"{study}/symmetric-0.4/nal"
        assert find_runs(name, locations) == [*TUNED.digests, *REFERENCE.digests]
        assert find_runs(f"{name}/tuned", locations) == TUNED.digests
        assert find_runs(f"{name}/reference", locations) == REFERENCE.digests


def test_values_that_are_tuned_and_the_reference_have_both_names(locations: Locations) -> None:
    both = make_cell(origin="tuned, equals reference", seeds=(0, 1))
    plan = make_plan([both])
    SweepArchive.of(locations.home_dir, plan.sweep).write(plan, "")
    for origin in ("tuned", "reference"):
        assert find_runs(f"digits/symmetric-0.4/nal/{origin}", locations) == both.digests


def test_cells_that_are_not_there_are_named(locations: Locations) -> None:
    text = message("digits/symmetric-0.2/nal", locations)
    assert "has no cell 'digits/symmetric-0.2/nal': did you mean 'digits/symmetric-0.4/nal" in text
    assert "'a/b' is recorded" not in message("a/b", locations)
    assert message("digits/nal", locations).startswith("'digits/nal': a cell is STUDY/SCENARIO/")
    assert "no study or sweep 'cifar10' is recorded" in message("cifar10/clean/ce", locations)
    assert message("digits/symmetric-0.4/ce", locations) == (
        "'digits/symmetric-0.4/ce': the runs with seed 1 have not ended: type the command of the "
        "sweep again to carry them out"
    )


def test_an_empty_name_is_no_run(locations: Locations) -> None:
    assert message("", locations).startswith("RUN is empty: write the beginning of a digest")


def test_runs_are_found_by_their_ids_in_mlflow(locations: Locations, tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    tracker = Tracker(uri, tmp_path / "artifacts", "digits")
    tracker.start_sweep(make_plan([TUNED]), "")
    (spec, foreign) = (
        *cell_specs("nal", "symmetric-0.4", (0,), TUNED.values),
        *cell_specs("nal", "symmetric-0.4", (7,), TUNED.values),
    )
    for each in (spec, foreign):
        tracker.record(make_result(each), Phase.CONFIRM, TUNED)
    stored = Locations(home_dir=locations.home_dir, tracking_uri=uri)
    ids = {
        run.data.tags.get("nal.digest", run.data.tags["nal.kind"]): run.info.run_id
        for run in open_store(uri).search_runs(["1"])
    }
    assert find_runs(ids[spec.digest], stored) == [spec.digest]
    assert "has no record in the home folder" in message(ids[foreign.digest], stored)
    assert "is no training run, but a cell: choose a run below it" in message(ids["cell"], stored)
    unknown = "0" * 32
    assert f"begins with '{unknown}', and none in {uri} has this ID" in message(unknown, stored)
    assert "has this ID" in message(unknown, locations)  # a home folder without a store


def test_a_home_folder_without_sweeps_has_no_cells(tmp_path: Path) -> None:
    locations = Locations(home_dir=create_home(tmp_path / "empty").path)
    assert message("digits/symmetric-0.4/nal", locations).startswith(
        "'digits/symmetric-0.4/nal': no sweep is recorded in the home folder"
    )


def test_a_store_that_does_not_answer_is_named(locations: Locations) -> None:
    away = Locations(home_dir=locations.home_dir, tracking_uri="http://127.0.0.1:9")
    with pytest.raises((ServiceError, HomeError)):
        find_runs("0" * 32, away)
