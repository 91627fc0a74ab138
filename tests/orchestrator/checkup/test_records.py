from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from plans import Driver, small_plan, small_study

from orchestrator.checkup import records
from orchestrator.checkup.records import (
    check_damaged_records,
    check_datasets,
    check_disk,
    check_searches,
    check_sweeps,
    check_tracking,
)
from orchestrator.flags import Locations
from orchestrator.home import Home
from orchestrator.tracking.agreement import Lacking
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.recording import plan_record
from trainables.errors import HomeError
from trainables.run.record import Record

if TYPE_CHECKING:
    from pathlib import Path


def save_plan(driver: Driver) -> None:
    loaded = small_study()
    SweepArchive.of(driver.home, driver.sweep.plan.digest).write(
        plan_record(driver.sweep, loaded), loaded.to_yaml()
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """Carry out five runs of a sweep, once for all tests."""
    driver = Driver(small_plan(), tmp_path_factory.mktemp("template")).run(max_runs=5)
    save_plan(driver)
    return driver


@pytest.fixture
def swept(tmp_path: Path, template: Driver) -> Driver:
    """Copy the home folder of the interrupted sweep, and return the driver of the original."""
    shutil.copytree(template.home, tmp_path, dirs_exist_ok=True)
    return template


def test_an_interrupted_sweep_names_its_command(tmp_path: Path, swept: Driver) -> None:
    (check,) = check_sweeps(Locations(home_dir=tmp_path))
    assert check.name == f"sweep {swept.sweep.plan.digest[:12]}"
    assert check.level == "warning"
    assert check.text == "study small, interrupted; runs: 5 finished"
    assert check.advice == f"`python -m orchestrator sweep small --home {tmp_path}` goes on"


@pytest.mark.usefixtures("swept")
def test_a_finished_sweep_is_ok(tmp_path: Path) -> None:
    save_plan(Driver(small_plan(), tmp_path).run())
    (check,) = check_sweeps(Locations(home_dir=tmp_path))
    assert (check.level, check.text) == ("ok", "study small, finished; runs: 16 finished")


def test_a_damaged_record_and_plan_are_problems(tmp_path: Path, swept: Driver) -> None:
    path = Record(tmp_path, swept.specs[0].digest).folder / "result.json"
    path.write_text("{")
    (check,) = check_sweeps(Locations(home_dir=tmp_path))
    assert (check.level, "1 damaged" in check.text) == ("problem", True)
    (check,) = check_damaged_records(Home(tmp_path))
    assert (check.level, str(path) in check.text) == ("problem", True)
    (SweepArchive.of(tmp_path, swept.sweep.plan.digest).folder / "plan.json").write_text("{")
    (check,) = check_sweeps(Locations(home_dir=tmp_path))
    assert (check.level, "plan.json cannot be read" in check.text) == ("problem", True)


@pytest.mark.usefixtures("swept")
def test_searches_agree_with_records(tmp_path: Path) -> None:
    (check,) = check_searches(Locations(home_dir=tmp_path))
    assert (check.level, check.text) == (
        "ok",
        "trials: 4 complete; every one that has ended has a record",
    )


def test_a_complete_trial_without_record_is_named(tmp_path: Path, swept: Driver) -> None:
    (Record(tmp_path, swept.specs[1].digest).folder / "result.json").unlink()
    (check,) = check_searches(Locations(home_dir=tmp_path))
    assert check.level == "warning"
    assert "the runs of 1 trials have no record" in check.text


@pytest.mark.usefixtures("swept")
def test_missing_and_damaged_searches(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.search_database.write_text("no database" * 100)
    (check,) = check_searches(Locations(home_dir=home.path))
    assert (check.level, "is not a database" in check.text) == ("problem", True)
    home.search_database.unlink()
    (check,) = check_searches(Locations(home_dir=home.path))
    assert (check.level, "has no searches" in check.text) == ("warning", True)
    assert not home.search_database.exists()
    assert list(check_searches(Locations(home_dir=tmp_path / "other"))) == []


@pytest.mark.usefixtures("swept")
def test_a_home_without_store_is_to_be_synced(tmp_path: Path) -> None:
    check = check_tracking(Locations(home_dir=tmp_path))
    assert check.level == "warning"
    assert check.advice == "`python -m orchestrator sync` writes it"
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("lacking", "level", "part"),
    [
        (Lacking((), 0, 0), "ok", "has every recorded run"),
        (Lacking(("small 0123",), 3, 0), "warning", "lacks 3 recorded runs; sweeps that are not"),
        (Lacking((), 0, 2), "warning", "2 runs in the store without a record here"),
    ],
)
def test_disagreements_with_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: Lacking, level: str, part: str
) -> None:
    monkeypatch.setattr(records, "find_lacking", lambda _: lacking)
    check = check_tracking(Locations(home_dir=tmp_path))
    assert check.level == level
    assert part in check.text


def test_a_store_that_cannot_be_used_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise HomeError("the store is damaged: sync")

    monkeypatch.setattr(records, "find_lacking", fail)
    check = check_tracking(Locations(home_dir=tmp_path))
    assert (check.level, check.text) == ("problem", "the store is damaged: sync")
    gone = Locations(home_dir=tmp_path, tracking_uri="http://127.0.0.1:1")
    assert check_tracking(gone).level == "problem"


def test_disk_space_and_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "missing")
    assert check_disk(home).level == "warning"  # perhaps a typing error
    assert not home.path.exists()
    home.create()
    assert check_disk(home).level == "ok"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1e6))
    check = check_disk(home)
    assert (check.level, check.text) == ("problem", f"1 MB free under {home.path}")


@pytest.mark.usefixtures("swept")
def test_datasets_of_sweeps_must_be_there(tmp_path: Path) -> None:
    (check,) = check_datasets(tmp_path / "data", Home(tmp_path))
    assert "present: digits (content of the sweeps in this home: " in check.text
    assert "missing: cifar10, " in check.text
    (path,) = tmp_path.glob("sweeps/*/plan.json")
    path.write_text(path.read_text().replace('"name": "digits"', '"name": "cifar10"'))
    first, second = check_datasets(tmp_path / "data", Home(tmp_path))
    assert (first.name, first.level) == ("data cifar10", "warning")
    assert "`python -m orchestrator data prepare cifar10`" in first.advice
    assert second.level == "ok"


@pytest.mark.usefixtures("swept")
def test_the_database_of_searches_is_only_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    before = home.search_database.read_bytes()
    with closing(sqlite3.connect(home.search_database)) as database:
        database.execute("BEGIN IMMEDIATE")  # as a sweep that is writing
        (check,) = check_searches(Locations(home_dir=home.path))
    assert check.level == "ok"
    assert home.search_database.read_bytes() == before
