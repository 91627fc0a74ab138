"""Creation of MLflow runs that happens once, although an answer of the server may be lost.

A request that creates a run must not be repeated blindly: the server may have carried it out. Each
run is therefore created with a key of its own, by which it is looked up before a second try.
"""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient
    from mlflow.entities import RunInfo

KEY_TAG = "nal.key"
"""Name of the tag with the key that identifies the creation of an MLflow run."""

MAX_TRIES = 3
"""Largest number of requests that create one run."""


def create_run_once(
    client: MlflowClient,
    experiment_id: str,
    name: str,
    tags: Mapping[str, str],
    start_ms: int | None = None,
) -> RunInfo:
    """Create an MLflow run, and return its identity, status and place.

    Args:
        client: client of the MLflow store.
        experiment_id: ID of the run's MLflow experiment.
        name: name of the run.
        tags: tags of the run.
        start_ms: start of the run in milliseconds since 1970; None for the current time.

    Raises:
        MlflowException: if the store has failed.
    """
    from mlflow.exceptions import MlflowException

    key = uuid.uuid4().hex
    keyed_tags = {KEY_TAG: key, **tags}
    tries_left = MAX_TRIES
    while True:
        try:
            with _unrepeated_requests():
                return client.create_run(experiment_id, start_ms, keyed_tags, name).info
        except MlflowException:
            if runs := client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'"):
                return runs[0].info
            tries_left -= 1
            if not tries_left:
                raise


@contextmanager
def _unrepeated_requests() -> Iterator[None]:
    """Keep MLflow from repeating failed requests for the duration of the context."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

    name = MLFLOW_HTTP_REQUEST_MAX_RETRIES.name
    earlier_value = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if earlier_value is None:
            del os.environ[name]
        else:
            os.environ[name] = earlier_value
