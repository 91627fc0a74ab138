"""Reading of runs from an MLflow server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.store import search_runs
from reports.stored_runs import (
    DIGEST_TAG,
    MlflowRun,
    MlflowRunData,
    MlflowRunInfo,
    StoreReader,
    TaggedRun,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mlflow import MlflowClient

MAX_SINGLE_QUERIES = 100
"""Largest number of digests that are searched one by one; about 10 ms each."""


class ServerReader(StoreReader):
    """An MLflow server that is open for reading.

    Args:
        client: client of the server.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def read_runs(
        self,
        tags: Mapping[str, str],
        experiment_id: str | None = None,
        digests: Collection[str] | None = None,
    ) -> Iterator[MlflowRun]:
        """Yield the runs that have some tags; the arguments are those of `StoreReader`."""
        if digests is None:
            yield from self._search(tags, experiment_id)
        elif len(digests) <= MAX_SINGLE_QUERIES:
            for digest in digests:
                yield from self._search({**tags, DIGEST_TAG: digest}, experiment_id)
        else:
            for run in self._search(tags, experiment_id):
                if run.data.tags.get(DIGEST_TAG) in digests:
                    yield run

    def read_tags(self, sweep_digest: str, names: Collection[str]) -> list[TaggedRun]:  # noqa: ARG002
        """Return no run, since a server has no request for tags alone."""
        return []

    def read_run_tags(self, run_id: str) -> Mapping[str, str] | None:
        """Return the tags of the run with an ID of MLflow's; None if there is none."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run.data.tags if run.info.lifecycle_stage == "active" else None

    def read_histories(
        self, run_ids: Sequence[str], metric: str
    ) -> dict[str, list[tuple[int, float]]]:
        """Return all values of a metric in some runs, by the run's ID."""
        return {
            run_id: [
                (entry.step, entry.value)
                for entry in self._client.get_metric_history(run_id, metric)
            ]
            for run_id in run_ids
        }

    def _search(self, tags: Mapping[str, str], experiment_id: str | None) -> Iterator[MlflowRun]:
        """Yield the runs that have some tags, by MLflow's search."""
        experiment_ids = (
            [experiment.experiment_id for experiment in self._client.search_experiments()]
            if experiment_id is None
            else [experiment_id]
        )
        query = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        for run in search_runs(self._client, experiment_ids, query):
            info = MlflowRunInfo(
                run.info.run_id,
                run.info.experiment_id,
                run.info.status,
                run.info.artifact_uri,
                run.info.end_time,
            )
            yield MlflowRun(info, MlflowRunData(run.data.metrics, run.data.params, run.data.tags))
