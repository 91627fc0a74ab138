from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan, make_result
from mlflow.entities import ViewType
from stores import fresh_store

from orchestrator.tracking.tracker import Tracker
from reports import database_reader, server_reader
from reports.database_reader import MLFLOW_SCHEMA, write_tag
from reports.server_reader import ServerReader
from reports.store import open_store
from reports.stored_runs import open_reader
from search_spaces.schema import Phase
from trainables.errors import HomeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlflow import MlflowClient


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """Return the client of a store with two sweeps that share seed 1, and a deleted run."""
    folder: Path = tmp_path_factory.mktemp("store")
    uri = fresh_store(folder)
    for name, seeds in (("a", (0, 1)), ("b", (1, 2, 3))):
        cell = make_cell("ce", seeds=seeds)
        tracker = Tracker(uri, folder / "artifacts", "digits")
        tracker.start_sweep(make_plan([cell], sweep=name * 64), "")
        for spec in cell_specs("ce", "symmetric-0.4", seeds, {}):
            diverged_at = 2 if spec.seeds.init == 2 else None
            tracker.record(make_result(spec, diverged_at=diverged_at), Phase.CONFIRM, cell)
    client = open_store(uri)
    (deleted,) = (
        run
        for run in client.search_runs(["1"], "tags.`nal.kind` = 'run'")
        if run.data.params["seed"] == "3"
    )
    client.delete_run(deleted.info.run_id)
    return client


def texts(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return metrics as texts, by which NaN can be compared."""
    return {name: str(value) for name, value in metrics.items()}


def test_a_database_gives_what_mlflow_gives(client: MlflowClient) -> None:
    expected = {
        run.info.run_id: (run.info.status, run.data.tags, run.data.params, texts(run.data.metrics))
        for run in client.search_runs(["1"], "tags.`nal.sweep` LIKE 'b%'")
    }
    with open_reader(client.tracking_uri) as store:
        runs = list(store.read_runs({"nal.sweep": "b" * 64}, "1"))
    assert len(runs) == len(expected) == 4  # sweep, cell and two runs
    for run in runs:
        status, tags, params, metrics = expected[run.info.run_id]
        assert (run.info.status, run.data.tags, run.data.params) == (status, tags, params)
        assert texts(run.data.metrics) == metrics


@pytest.mark.parametrize("single_queries", [0, 100])
def test_a_server_and_a_database_find_the_same_digests(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, single_queries: int
) -> None:
    monkeypatch.setattr(server_reader, "MAX_SINGLE_QUERIES", single_queries)
    digests = {spec.digest for spec in cell_specs("ce", "symmetric-0.4", (1, 2), {})}
    tags = {"nal.kind": "run"}
    for experiment_id in ("1", None):
        served_runs = list(ServerReader(client).read_runs(tags, experiment_id, digests))
        with open_reader(client.tracking_uri) as store:
            runs = list(store.read_runs(tags, experiment_id, digests))
            assert list(store.read_runs(tags, experiment_id, set())) == []
        assert len(runs) == 3
        assert {run.info.run_id for run in runs} == {run.info.run_id for run in served_runs}


def test_the_tags_of_a_run_are_found_by_its_id(client: MlflowClient) -> None:
    runs = client.search_runs(["1"], run_view_type=ViewType.ALL)
    assert {run.info.lifecycle_stage for run in runs} == {"active", "deleted"}
    with open_reader(client.tracking_uri) as store:
        for run in runs:
            is_active = run.info.lifecycle_stage == "active"
            tags = dict(run.data.tags) if is_active else None
            assert store.read_run_tags(run.info.run_id) == tags
            assert ServerReader(client).read_run_tags(run.info.run_id) == tags
        assert store.read_run_tags("0" * 32) is None
        assert ServerReader(client).read_run_tags("0" * 32) is None


def test_deleted_experiments_are_left_out(tmp_path: Path) -> None:
    client = open_store(fresh_store(tmp_path))
    experiment_ids = [client.create_experiment(name) for name in ("kept", "deleted")]
    for experiment_id in experiment_ids:
        client.create_run(experiment_id, tags={"nal.kind": "sweep"})
    client.delete_experiment(experiment_ids[1])
    with open_reader(client.tracking_uri) as store:
        (run,) = store.read_runs({"nal.kind": "sweep"})
    assert run.info.experiment_id == experiment_ids[0]


def test_the_columns_are_those_of_mlflow() -> None:
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels import models  # noqa: F401 - declares the tables

    for table in MLFLOW_SCHEMA.tables.values():
        mlflow_columns = Base.metadata.tables[table.name].columns
        for column in table.columns:
            assert column.type.python_type is mlflow_columns[column.name].type.python_type


@pytest.mark.parametrize("content", [None, b""])
def test_a_store_without_tables_is_empty_and_stays_as_it_is(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "mlflow.db"
    if content is not None:
        path.write_bytes(content)
    with open_reader(f"sqlite:///{path}") as store:
        assert list(store.read_runs({"nal.kind": "sweep"})) == []
        assert store.read_tags("a" * 64, ["nal.kind"]) == []
        assert store.read_histories(["1"], "test/accuracy") == {"1": []}
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [content] * (content is not None)


def test_a_store_of_another_version_is_read_if_it_has_the_columns(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with open_reader(uri) as store:
        assert list(store.read_runs({"nal.kind": "sweep"})) == []
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("ALTER TABLE runs RENAME COLUMN status TO state")
    with (
        pytest.raises(HomeError, match=r"^MLflow store .* failed: no such column: runs\.status$"),
        open_reader(uri) as store,
    ):
        list(store.read_runs({"nal.kind": "sweep"}))


def test_a_written_tag_is_read_by_mlflow(tmp_path: Path) -> None:
    client = open_store(fresh_store(tmp_path))
    run_id = client.create_run(client.create_experiment("digits"), tags={"a": "1"}).info.run_id
    for name, value in (("a", "2"), ("b", "it's 100 % new")):
        write_tag(client.tracking_uri, run_id, name, value)
    tags = client.get_run(run_id).data.tags
    assert (tags["a"], tags["b"]) == ("2", "it's 100 % new")


def test_damage_in_a_table_of_values_is_told_in_one_line(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    client = open_store(uri)
    run_id = client.create_run(client.create_experiment("digits")).info.run_id
    client.set_tag(run_id, "nal.kind", "sweep")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("DROP TABLE params")
    with pytest.raises(HomeError, match=r"params"), open_reader(uri) as store:
        list(store.read_runs({"nal.kind": "sweep"}))


def test_reading_does_not_import_mlflow(client: MlflowClient) -> None:
    code = (
        "import sys; from reports.read import list_sweeps; "
        f"assert len(list_sweeps({client.tracking_uri!r})) == 2; "
        "assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_histories_of_a_database_are_those_that_mlflow_reads(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_reader(client.tracking_uri) as store:
        run_ids = [run.info.run_id for run in store.read_runs({"nal.kind": "run"}, "1")]
    assert len(run_ids) == 4
    expected = {
        run_id: [
            (entry.step, entry.value)
            for entry in client.get_metric_history(run_id, "test/accuracy")
        ]
        for run_id in run_ids
    }
    assert max(map(len, expected.values())) > 2
    for batch_size in (1, 3, 5000):
        monkeypatch.setattr(database_reader, "RUNS_PER_HISTORY_QUERY", batch_size)
        with open_reader(client.tracking_uri) as store:
            histories = store.read_histories(run_ids, "test/accuracy")
        assert {run_id: sorted(pairs) for run_id, pairs in histories.items()} == expected
