"""Reading of MLflow runs by their tags, in large stores as fast as the database allows.

MLflow's search builds an object for every metric, parameter and tag, about 5 ms of work for each
run, and cannot search for a set of tag values. Of a store that is a database, this module therefore
reads the rows itself, by the columns that MLflow declares. A server is searched by its interface.
"""

from __future__ import annotations

import math
import urllib.parse
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from reports.store import search_runs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from typing import Any

    from mlflow import MlflowClient
    from sqlalchemy import Connection, Row, Select

DIGEST_TAG = "nal.digest"
"""Name of the MLflow tag that holds the digest of a training run."""

ENDED_STATUSES = ("FINISHED", "FAILED")
"""MLflow's statuses of runs that are written completely; the status is written last."""

RUNS_PER_QUERY = 500
"""Number of runs whose metrics, parameters and tags one query of a database reads."""

RUNS_PER_HISTORY_QUERY = 5000
"""Number of runs of whose metric one query of a database reads all values.

SQLite goes through the values of the metric in all runs, in each query."""

MAX_SINGLE_QUERIES = 100
"""Largest number of digests that are searched one by one on a server; about 10 ms each."""


@dataclass(frozen=True, slots=True)
class MlflowRunInfo:
    """What MLflow stores of a run besides its metrics, parameters and tags.

    Attributes:
        run_id: MLflow's ID of the run.
        experiment_id: ID of the MLflow experiment of the run.
        status: MLflow's status of the run, such as "FINISHED".
        artifact_uri: address of the run's artifacts.
        end_time: end of the run in milliseconds since 1970; None if it has not ended.
    """

    run_id: str
    experiment_id: str
    status: str
    artifact_uri: str
    end_time: int | None


@dataclass(frozen=True, slots=True)
class MlflowRunData:
    """Metrics, parameters and tags of an MLflow run.

    Attributes:
        metrics: last value of each metric, by name.
        params: parameters, by name.
        tags: tags, by name.
    """

    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MlflowRun:
    """An MLflow run, with the attributes of MLflow's own `Run` that this project uses.

    Attributes:
        info: identity, status and place of the run.
        data: metrics, parameters and tags of the run.
    """

    info: MlflowRunInfo
    data: MlflowRunData


@dataclass(frozen=True, slots=True)
class TaggedRun:
    """Some tags of an MLflow run.

    Attributes:
        run_id: MLflow's ID of the run.
        status: MLflow's status of the run, such as "FINISHED".
        tags: values of those tags that were asked for and that the run has, by name.
    """

    run_id: str
    status: str
    tags: Mapping[str, str]


def read_tags(client: MlflowClient, sweep_digest: str, names: Collection[str]) -> list[TaggedRun]:
    """Return some tags of the MLflow runs of a sweep, except those that were deleted in MLflow.

    This takes a twentieth of the time of `read_runs`. A server has no request for tags alone: of
    such a store, no run is returned.

    Args:
        client: client of the MLflow store.
        sweep_digest: digest of the sweep.
        names: names of the tags.
    """
    if _is_server(client):
        return []
    from mlflow.entities import LifecycleStage
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from sqlalchemy import create_engine, select

    of_sweep: Any = select(SqlTag.run_uuid).where(
        SqlTag.key == "nal.sweep", SqlTag.value == sweep_digest
    )
    query: Any = (
        select(SqlRun.run_uuid, SqlRun.status, SqlTag.key, SqlTag.value)
        .join(SqlTag, SqlTag.run_uuid == SqlRun.run_uuid)
        .where(
            SqlRun.lifecycle_stage == LifecycleStage.ACTIVE,
            SqlRun.run_uuid.in_(of_sweep),
            SqlTag.key.in_(names),
        )
    )
    statuses: dict[str, str] = {}
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    engine = create_engine(client.tracking_uri)
    try:
        with engine.connect() as database:
            for run_id, status, name, value in database.execute(query):
                statuses[run_id] = status
                tags[run_id][name] = value
    finally:
        engine.dispose()
    return [TaggedRun(run_id, status, tags[run_id]) for run_id, status in statuses.items()]


def read_runs(
    client: MlflowClient,
    experiment_id: str,
    tags: Mapping[str, str],
    digests: Collection[str] | None = None,
) -> Iterator[MlflowRun]:
    """Yield the MLflow runs of an experiment that have some tags.

    Runs that were deleted in MLflow are left out. Of runs with the same digest, the most recently
    started one comes first.

    Args:
        client: client of the MLflow store.
        experiment_id: ID of the MLflow experiment.
        tags: values of tags, by name.
        digests: digests of the training runs to which the search is limited; None for no limit.
    """
    if digests is not None and not digests:
        return
    if _is_server(client):
        yield from _read_from_server(client, experiment_id, tags, digests)
    else:
        yield from _read_from_database(client.tracking_uri, experiment_id, tags, digests)


def read_histories(
    client: MlflowClient, run_ids: Sequence[str], metric: str
) -> dict[str, list[tuple[int, float]]]:
    """Return all values of a metric in some runs, as pairs of step and value, by the run's ID.

    The pairs are in no particular order. A server has no request for several runs that returns all
    values, so that it is asked for one run after the other, about 6 ms each.

    Args:
        client: client of the MLflow store.
        run_ids: MLflow's IDs of the runs.
        metric: name of the metric.
    """
    if _is_server(client):
        return {
            run_id: [
                (entry.step, entry.value) for entry in client.get_metric_history(run_id, metric)
            ]
            for run_id in run_ids
        }
    return _read_histories_from_database(client.tracking_uri, run_ids, metric)


def _is_server(client: MlflowClient) -> bool:
    return urllib.parse.urlsplit(client.tracking_uri).scheme in ("http", "https")


def _read_histories_from_database(
    uri: str, run_ids: Sequence[str], metric: str
) -> dict[str, list[tuple[int, float]]]:
    """Return the values of `read_histories` from the table of MLflow's database."""
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import create_engine, select

    histories: dict[str, list[tuple[int, float]]] = {run_id: [] for run_id in run_ids}
    engine, remaining_ids = create_engine(uri), iter(run_ids)
    try:
        with engine.connect() as database:
            while batch := list(islice(remaining_ids, RUNS_PER_HISTORY_QUERY)):
                query: Any = select(
                    SqlMetric.run_uuid, SqlMetric.step, SqlMetric.value, SqlMetric.is_nan
                ).where(SqlMetric.key == metric, SqlMetric.run_uuid.in_(batch))
                for run_id, step, value, is_not_a_number in database.execute(query):
                    histories[run_id].append((step, math.nan if is_not_a_number else value))
    finally:
        engine.dispose()
    return histories


def _read_from_server(
    client: MlflowClient,
    experiment_id: str,
    tags: Mapping[str, str],
    digests: Collection[str] | None,
) -> Iterator[MlflowRun]:
    """Yield the runs of `read_runs` by MLflow's search."""
    if digests is not None and len(digests) <= MAX_SINGLE_QUERIES:
        for digest in digests:
            yield from _read_from_server(
                client, experiment_id, {**tags, DIGEST_TAG: digest}, digests=None
            )
        return
    query = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    for run in search_runs(client, [experiment_id], query):
        data = run.data
        if digests is None or data.tags.get(DIGEST_TAG) in digests:
            info = MlflowRunInfo(
                run.info.run_id,
                run.info.experiment_id,
                run.info.status,
                run.info.artifact_uri,
                run.info.end_time,
            )
            yield MlflowRun(info, MlflowRunData(data.metrics, data.params, data.tags))


def _read_from_database(
    uri: str, experiment_id: str, tags: Mapping[str, str], digests: Collection[str] | None
) -> Iterator[MlflowRun]:
    """Yield the runs of `read_runs` from the tables of MLflow's database."""
    from sqlalchemy import create_engine

    engine = create_engine(uri)
    try:
        with engine.connect() as database:
            rows = iter(database.execute(_run_query(experiment_id, tags)).all())
            if digests is not None:
                digests_by_run = _tag_values(database, experiment_id, DIGEST_TAG)
                rows = iter([row for row in rows if digests_by_run.get(row.run_uuid) in digests])
            while batch := list(islice(rows, RUNS_PER_QUERY)):
                yield from _complete_runs(database, batch)
    finally:
        engine.dispose()


def _run_query(experiment_id: str, tags: Mapping[str, str]) -> Select[Any]:
    """Return the query of the runs of an experiment that have some tags."""
    from mlflow.entities import LifecycleStage
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from sqlalchemy import select
    from sqlalchemy.orm import aliased

    query = select(*SqlRun.__table__.columns).where(
        SqlRun.experiment_id == int(experiment_id), SqlRun.lifecycle_stage == LifecycleStage.ACTIVE
    )
    for name, value in tags.items():
        tag = aliased(SqlTag)
        query = query.join(tag, tag.run_uuid == SqlRun.run_uuid).where(
            tag.key == name, tag.value == value
        )
    return query.order_by(SqlRun.start_time.desc(), SqlRun.run_uuid)


def _tag_values(database: Connection, experiment_id: str, name: str) -> dict[str, str]:
    """Return the values of a tag in all runs of an experiment, by the ID of the run."""
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from sqlalchemy import select

    query: Any = (
        select(SqlTag.run_uuid, SqlTag.value)
        .join(SqlRun, SqlRun.run_uuid == SqlTag.run_uuid)
        .where(SqlTag.key == name, SqlRun.experiment_id == int(experiment_id))
    )
    return dict(database.execute(query).all())


def _complete_runs(database: Connection, rows: Sequence[Row[Any]]) -> Iterator[MlflowRun]:
    """Yield MLflow runs with their metrics, parameters and tags.

    Args:
        database: connection to MLflow's database.
        rows: rows of the table of runs.
    """
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlTag

    run_ids = [row.run_uuid for row in rows]
    metrics, params, tags = (
        _read_values(database, model, run_ids) for model in (SqlLatestMetric, SqlParam, SqlTag)
    )
    for row in rows:
        run_id = row.run_uuid
        info = MlflowRunInfo(
            run_id, str(row.experiment_id), row.status, row.artifact_uri, row.end_time
        )
        yield MlflowRun(info, MlflowRunData(metrics[run_id], params[run_id], tags[run_id]))


def _read_values(
    database: Connection,
    model: Any,  # noqa: ANN401 - MLflow's models have no types
    run_ids: Sequence[str],
) -> Mapping[str, dict[str, Any]]:
    """Return the values in a table of metrics, parameters or tags, by run and by name.

    The rows are read from the driver's cursor, since SQLAlchemy's objects for rows take five times
    as long.
    """
    from sqlalchemy import literal, select

    is_nan = model.is_nan if hasattr(model, "is_nan") else literal(0)
    query = select(model.run_uuid, model.key, model.value, is_nan).where(
        model.run_uuid.in_(run_ids)
    )
    sql = query.compile(database.engine, compile_kwargs={"literal_binds": True})
    values: dict[str, dict[str, Any]] = defaultdict(dict)
    with closing(database.connection.cursor()) as cursor:
        cursor.execute(str(sql))
        for run_id, name, value, is_not_a_number in cursor.fetchall():
            values[run_id][name] = math.nan if is_not_a_number else value
    return values
