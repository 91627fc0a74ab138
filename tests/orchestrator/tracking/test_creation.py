from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from mlflow.exceptions import MlflowException

from orchestrator.tracking.creation import KEY_TAG, MAX_TRIES, create_run_once

if TYPE_CHECKING:
    from mlflow import MlflowClient

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class FlakyClient:
    """A client that loses requests or answers, in place of MLflow's own.

    Args:
        failures: what happens to each request to create a run: "request" or "answer" is lost.
    """

    def __init__(self, *failures: str) -> None:
        self.failures = list(failures)
        self.runs: list[dict[str, str]] = []
        self.retries: list[str] = []

    def create_run(
        self, _experiment_id: str, start_ms: int, tags: dict[str, str], name: str
    ) -> Any:
        assert (start_ms, name) == (5, "run")
        self.retries.append(os.environ[RETRIES])
        failure = self.failures.pop(0) if self.failures else ""
        if failure != "request":
            self.runs.append(tags)
        if failure:
            raise MlflowException("lost")
        return self.search_runs(["1"], f"tags.`{KEY_TAG}` = '{tags[KEY_TAG]}'")[0]

    def search_runs(self, _experiment_ids: list[str], query: str) -> list[Any]:
        key = query.split("'")[1]
        return [
            SimpleNamespace(info=number)
            for number, tags in enumerate(self.runs)
            if tags[KEY_TAG] == key
        ]


def create(client: FlakyClient) -> object:
    return create_run_once(cast("MlflowClient", client), "1", "run", {"nal.kind": "run"}, 5)


@pytest.mark.parametrize("failures", [(), ("answer",), ("request",), ("request", "answer")])
def test_one_run_is_created_whatever_is_lost(
    failures: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RETRIES, "4")
    client = FlakyClient(*failures)
    assert create(client) == 0
    assert create(client) == 1
    assert [tags["nal.kind"] for tags in client.runs] == ["run", "run"]
    assert client.runs[0][KEY_TAG] != client.runs[1][KEY_TAG]
    assert set(client.retries) == {"0"}
    assert os.environ[RETRIES] == "4"


def test_a_store_that_fails_each_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RETRIES, raising=False)
    client = FlakyClient(*["request"] * 9)
    with pytest.raises(MlflowException, match="lost"):
        create(client)
    assert len(client.retries) == MAX_TRIES
    assert RETRIES not in os.environ
