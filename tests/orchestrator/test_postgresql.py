"""A sweep in a PostgreSQL database, compared with the same sweep in an SQLite file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command_line import call_command
from plans import Driver, small_plan, small_study
from postgres import postgres_server

from orchestrator.home import Home
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.finished import find_finished_sweep
from orchestrator.tracking.recording import plan_record
from reports.read import read_curves, read_sweep
from reports.store import home_store_uri
from trainables.run.metrics import TEST_ACCURACY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_postgresql_gives_the_tables_of_sqlite_cell_for_cell(tmp_path: Path) -> None:
    home, plan = tmp_path / "home", small_plan(seeds=3)
    Home(home).create()
    sweep = Driver(plan, home).run().sweep
    record, study = plan_record(sweep, small_study(seeds=3)), small_study(seeds=3).to_yaml()
    SweepArchive.of(home, plan.digest).write(record, study)
    with postgres_server() as uri:
        places = {"sqlite": home_store_uri(home), "postgresql": uri}
        tables, curves = {}, {}
        for name, store in places.items():
            place = ["--home", home, "--tracking-uri", store]
            assert call_command("sync", *place).returncode == 0
            out = tmp_path / f"{name}.csv"
            report = call_command("report", "small", "--pairs", "--json", "--out", out, *place)
            assert report.returncode == 0, report.stderr
            tables[name] = (json.loads(report.stdout), out.read_text())
            _, runs = read_sweep(store, plan.digest)
            curves[name] = read_curves(store, runs, TEST_ACCURACY)
            finished = find_finished_sweep(store, plan.digest, home)
            assert finished is not None
            assert finished.run_digests == {run.digest for run in runs}
    assert len(tables["sqlite"][1].splitlines()) > 20
    assert tables["postgresql"] == tables["sqlite"]
    assert curves["postgresql"] == curves["sqlite"]
    assert sum(map(len, curves["sqlite"].values())) >= 9 * 6  # 3 cells of 3 seeds, 6 epochs each
