"""Sweeps in a PostgreSQL database, compared with the same sweeps in an SQLite file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command_line import call_command
from plans import Driver, small_plan, small_study
from postgres import postgres_server
from sqlalchemy import create_engine, text
from stored_sweeps import FakeSweep, content

from orchestrator.home import Home
from orchestrator.tracking import persistence
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


@pytest.mark.slow
def test_closed_connections_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistence, "FIRST_PAUSE_SECONDS", 0.1)
    undisturbed = FakeSweep(tmp_path / "undisturbed", "small")
    undisturbed.carry_out(home_store_uri(undisturbed.home.path))
    sweep = FakeSweep(tmp_path / "home", "small")
    with postgres_server() as plain_uri:
        # The server trusts everybody, so that any password is right.
        uri = plain_uri.replace("postgres:@", "postgres:p%40ss%2Fword@")
        assert uri != plain_uri
        engine = create_engine(uri)
        closed_counts = []

        def close_connections(_count: int) -> None:
            with engine.connect() as connection:
                closed = connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                    )
                )
                closed_counts.append(len(closed.all()))

        sweep.carry_out(uri, close_connections)
        engine.dispose()
        assert sum(closed_counts) > 3
        assert content(uri, "small") == content(home_store_uri(undisturbed.home.path), "small")
        assert not any("p%40ss" in notice for notice in sweep.notices)
