from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import run_command
from factories import cell_specs, make_cell, make_plan, make_result
from stores import fresh_store

from orchestrator.home import Home
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.home_store import open_home_store, repair_home_store, update_home_store
from orchestrator.tracking.tracker import Tracker
from reports.read import read_sweep
from reports.store import home_store_uri, open_store
from trainables.errors import HomeError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reports.plan_record import PlanRecord
    from trainables.run.result import RunResult


def record_results(home: Path, seeds: Sequence[int], study: str = "digits") -> list[RunResult]:
    """Write the records of runs, as workers do."""
    results = []
    for spec in cell_specs("ce", "symmetric-0.4", seeds, {}):
        result = make_result(spec)
        result.provenance["study"] = study
        record = Record(home, spec.digest)
        record.folder.mkdir(parents=True, exist_ok=True)
        record.write_result(result)
        results.append(result)
    return results


def record_sweep(home: Path, seeds: Sequence[int] = (0, 1), **changes: str) -> PlanRecord:
    """Write the records of a sweep with its runs, but nothing to MLflow."""
    plan = make_plan([make_cell("ce", seeds=seeds)], **changes)
    SweepArchive.of(home, plan.sweep).write(plan, "title: digits\n")
    (home / "format").write_text("1\n")
    record_results(home, seeds)
    return plan


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one finished sweep, which its MLflow store has."""
    folder = tmp_path / "home"
    folder.mkdir()
    fresh_store(folder)
    record_sweep(folder)
    update_home_store(Home(folder))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def artifact_addresses(home: Path) -> set[str]:
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        rows = database.execute(
            "SELECT artifact_location FROM experiments WHERE name = 'digits' "
            "UNION SELECT artifact_uri FROM runs"
        )
        return {address for (address,) in rows}


def read_digests(home: Path) -> set[str]:
    return {run.digest for run in read_sweep(home_store_uri(home), "digits")[1]}


def mlflow_runs(home: Path) -> Mapping[str, str]:
    """Return the status of the MLflow runs in a home by their IDs."""
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        return dict(database.execute("SELECT run_uuid, status FROM runs"))


def test_a_store_that_lacks_records_is_completed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh_store(tmp_path)
    plan = record_sweep(tmp_path)
    update_home_store(Home(tmp_path))
    assert read_digests(tmp_path) == plan.digests
    assert "lacked recorded runs or plans" in capsys.readouterr().err
    before = contents(tmp_path)
    update_home_store(Home(tmp_path))
    assert capsys.readouterr().err == ""
    assert contents(tmp_path) == before

    more = record_sweep(tmp_path, seeds=(0, 1, 2))  # as by a sweep that was killed
    update_home_store(Home(tmp_path))
    assert read_digests(tmp_path) == more.digests
    assert len(more.digests) == 3


def test_runs_of_an_unfinished_sweep_are_not_taken_for_others(home: Path) -> None:
    record_sweep(home, state="running")
    record_results(home, (7,))  # ended, but the sweep was killed before its plan was written
    (other,) = record_results(home, (8,), study="cifar10")
    update_home_store(Home(home))
    client = open_store(home_store_uri(home))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    alone = client.search_runs(experiments, "tags.`nal.phase` = 'train'")
    assert [run.data.tags["nal.digest"] for run in alone] == [other.digest]


def test_a_sweep_in_progress_is_left_to_its_process(home: Path) -> None:
    before = mlflow_runs(home)
    record_sweep(home, seeds=(0, 1, 2))
    with Home(home).study_lock("digits"):
        update_home_store(Home(home))
    assert mlflow_runs(home) == before
    update_home_store(Home(home))
    assert len(mlflow_runs(home)) == len(before) + 1


def test_a_run_that_the_user_deleted_stays_deleted(home: Path) -> None:
    client = open_store(home_store_uri(home))
    for run_id in mlflow_runs(home):
        client.delete_run(run_id)
    before = mlflow_runs(home)
    update_home_store(Home(home))
    assert mlflow_runs(home) == before


def test_restoring_keeps_the_order_of_sweeps(home: Path) -> None:
    other = record_sweep(home, sweep="b" * 64, title="other")
    update_home_store(Home(home))
    assert read_sweep(home_store_uri(home))[0].sweep == other.sweep
    record_sweep(home, seeds=(0, 1, 2))
    update_home_store(Home(home))
    assert read_sweep(home_store_uri(home))[0].sweep == other.sweep


@pytest.mark.slow
@pytest.mark.parametrize("is_moved", [False, True], ids=["copied", "moved"])
def test_a_home_in_another_place_depends_on_nothing_elsewhere(
    home: Path, tmp_path: Path, *, is_moved: bool
) -> None:
    new = tmp_path / "x y" / "copied"
    new.parent.mkdir()
    before = contents(home)
    if is_moved:
        home.rename(new)
    else:
        shutil.copytree(home, new)
    run_ids = set(mlflow_runs(new))
    record_sweep(new, title="changed in the copy")
    report = run_command("report", "digits", "--home", new, "--json")  # writes the changed plan
    assert report.returncode == 0, report.stderr
    assert json.loads(report.stdout)["title"].startswith("changed in the copy")
    assert set(mlflow_runs(new)) == run_ids
    assert all(
        address.startswith(f"{new.as_uri()}/artifacts/") for address in artifact_addresses(new)
    )
    if is_moved:
        assert not home.exists()
    else:
        assert contents(home) == before


def test_addresses_elsewhere_are_kept(home: Path) -> None:
    client = open_store(home_store_uri(home))
    client.create_experiment("own", artifact_location="s3://bucket/artifacts/own")
    client.create_experiment("mine", artifact_location=Path("/data/mine").as_uri())
    repair_home_store(Home(home))
    locations = {e.name: e.artifact_location for e in client.search_experiments()}
    assert locations["own"] == "s3://bucket/artifacts/own"
    assert locations["mine"] == "file:///data/mine"


def test_a_home_reached_by_a_link_keeps_its_addresses(home: Path, tmp_path: Path) -> None:
    before = artifact_addresses(home)
    link = tmp_path / "link"
    link.symlink_to(home)
    repair_home_store(Home(link))
    assert artifact_addresses(home) == before


def half_create(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        database.execute("CREATE TABLE _alembic_tmp_experiments (experiment_id INTEGER)")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage", [half_create, truncate, lambda path: path.write_bytes(b"no database" * 99)]
)
def test_a_damaged_store_is_renamed_and_written_anew(
    home: Path,
    damage: Callable[[Path], object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = home.rename(home.with_name("new"))  # of which MLflow has no connection in this process
    path = home / "mlflow.db"
    damage(path)
    damaged = path.read_bytes()
    capsys.readouterr()
    monkeypatch.setattr("reports.store._create_sqlite_store", fresh_file)
    update_home_store(Home(home))
    line, *others = capsys.readouterr().err.splitlines()
    assert line.startswith(f"MLflow store {path} is damaged (")
    assert len(others) == 1
    (kept,) = home.glob("mlflow-damaged-20*.db")
    assert kept.read_bytes() == damaged
    assert len(read_digests(home)) == 2


def fresh_file(path: Path) -> None:
    folder = path.parent / "fresh"
    folder.mkdir()
    fresh_store(folder)
    (folder / "mlflow.db").rename(path)
    folder.rmdir()


def test_damage_in_one_page_is_found_by_reading_all(home: Path) -> None:
    path = home / "mlflow.db"
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'metrics'"
        ).fetchone()
        (page_size,) = database.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * page_size : page * page_size] = bytes(page_size)
    path.write_bytes(content)
    repair_home_store(Home(home))
    assert path.exists()
    repair_home_store(Home(home), reads_all_pages=True)
    assert not path.exists()
    (kept,) = home.glob("mlflow-damaged-20*.db")
    assert kept.read_bytes() == content


def test_a_home_without_records_gets_no_store(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=f"no run is recorded in the home folder {tmp_path}: run "):
        open_home_store(Home(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_plan_is_named_and_left_out(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plan_path,) = home.glob("sweeps/*/plan.json")
    plan_path.write_bytes(b"\xff{")
    update_home_store(Home(home))
    assert f"skipped a damaged record: {plan_path} cannot be read" in capsys.readouterr().err
    assert len(read_digests(home)) == 2


def test_a_store_of_another_home_is_no_part_of_the_update(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    uri = fresh_store(other)
    Tracker(uri, other / "artifacts", "digits").record(record_results(other, (5,))[0], "train")
    before = contents(other)
    update_home_store(Home(home))
    assert contents(other) == before
