from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan, make_result
from stores import fresh_store

from orchestrator.tracking.tracker import Tracker
from reports import stored_runs
from reports.store import open_store
from reports.stored_runs import read_histories, read_runs
from search_spaces.schema import Phase

if TYPE_CHECKING:
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


def test_a_database_gives_what_mlflow_gives(client: MlflowClient) -> None:
    expected = {
        run.info.run_id: (run.info.status, run.data.tags, run.data.params, str(run.data.metrics))
        for run in client.search_runs(["1"], "tags.`nal.sweep` LIKE 'b%'")
    }
    runs = list(read_runs(client, "1", {"nal.sweep": "b" * 64}))
    assert len(runs) == len(expected) == 4  # sweep, cell and two runs
    for run in runs:
        status, tags, params, metrics = expected[run.info.run_id]
        assert (run.info.status, run.data.tags, run.data.params) == (status, tags, params)
        assert sorted(str(run.data.metrics)) == sorted(metrics)


@pytest.mark.parametrize("single_queries", [0, 100])
def test_a_server_and_a_database_find_the_same_digests(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, single_queries: int
) -> None:
    monkeypatch.setattr(stored_runs, "MAX_SINGLE_QUERIES", single_queries)
    digests = {spec.digest for spec in cell_specs("ce", "symmetric-0.4", (1, 2), {})}
    tags = {"nal.kind": "run"}
    runs = list(read_runs(client, "1", tags, digests))
    served_runs = list(stored_runs._read_from_server(client, "1", tags, digests))
    assert len(runs) == 3
    assert {run.info.run_id for run in runs} == {run.info.run_id for run in served_runs}
    assert list(read_runs(client, "1", tags, set())) == []


def test_histories_of_a_database_are_those_that_mlflow_reads(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = [run.info.run_id for run in read_runs(client, "1", {"nal.kind": "run"})]
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
        monkeypatch.setattr(stored_runs, "RUNS_PER_HISTORY_QUERY", batch_size)
        histories = read_histories(client, run_ids, "test/accuracy")
        assert {run_id: sorted(pairs) for run_id, pairs in histories.items()} == expected
