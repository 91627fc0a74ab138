"""Reading of runs from the tables of an MLflow store that is a database, and writing of a tag."""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    create_engine,
    insert,
    inspect,
    literal,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from reports.stored_runs import (
    DIGEST_TAG,
    MlflowRun,
    MlflowRunData,
    MlflowRunInfo,
    StoreReader,
    TaggedRun,
)
from trainables.databases import database_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row, Select

MLFLOW_SCHEMA = MetaData()
"""Those columns of MLflow's tables that are read. All versions from 2.0 on have them."""

EXPERIMENTS = Table(
    "experiments",
    MLFLOW_SCHEMA,
    Column("experiment_id", Integer, primary_key=True),
    Column("lifecycle_stage", String(32)),
)
RUNS = Table(
    "runs",
    MLFLOW_SCHEMA,
    Column("run_uuid", String(32), primary_key=True),
    Column("experiment_id", Integer),
    Column("status", String(20)),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("lifecycle_stage", String(20)),
    Column("artifact_uri", String(200)),
)
TAGS, PARAMS = (
    Table(
        name,
        MLFLOW_SCHEMA,
        Column("key", String(250), primary_key=True),
        Column("value", String(8000)),
        Column("run_uuid", String(32), primary_key=True),
    )
    for name in ("tags", "params")
)
LATEST_METRICS, METRICS = (
    Table(
        name,
        MLFLOW_SCHEMA,
        Column("key", String(250), primary_key=True),
        Column("value", Float(53)),
        Column("step", BigInteger, primary_key=True),
        Column("is_nan", Boolean),
        Column("run_uuid", String(32), primary_key=True),
    )
    for name in ("latest_metrics", "metrics")
)

ACTIVE = "active"
"""Stage of experiments and runs that were not deleted in MLflow."""

RUNS_PER_QUERY = 500
"""Number of runs whose metrics, parameters and tags one query reads."""

RUNS_PER_HISTORY_QUERY = 5000
"""Number of runs of whose metric one query reads all values.

SQLite goes through the values of the metric in all runs, in each query."""


@contextmanager
def open_database(uri: str) -> Iterator[DatabaseReader]:
    """Open an MLflow store that is a database for reading, for the duration of the context.

    Args:
        uri: URI of the database, which may lack MLflow's tables; of an SQLite file that may be
            missing.
    """
    path = database_path(uri)
    is_missing = path is not None and not path.exists()
    engine = create_engine("sqlite://" if is_missing else uri)
    try:
        with engine.connect() as connection:
            if inspect(connection).has_table(RUNS.name):
                yield DatabaseReader(connection)
                return
    finally:
        engine.dispose()
    empty_engine = create_engine("sqlite://")
    MLFLOW_SCHEMA.create_all(empty_engine)
    with empty_engine.connect() as connection:
        yield DatabaseReader(connection)


def write_tag(uri: str, run_id: str, name: str, value: str) -> None:
    """Set a tag of a run in an MLflow store that is a database.

    Args:
        uri: URI of the database.
        run_id: MLflow's ID of the run.
        name: name of the tag.
        value: value of the tag.
    """
    is_tag = and_(TAGS.c.run_uuid == run_id, TAGS.c.key == name)
    engine = create_engine(uri)
    try:
        with engine.begin() as connection:
            if not connection.execute(update(TAGS).where(is_tag).values(value=value)).rowcount:
                row = {"run_uuid": run_id, "key": name, "value": value}
                connection.execute(insert(TAGS).values(row))
    finally:
        engine.dispose()


class DatabaseReader(StoreReader):
    """A database with MLflow's tables that is open for reading.

    Args:
        connection: connection to the database.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read_runs(
        self,
        tags: Mapping[str, str],
        experiment_id: str | None = None,
        digests: Collection[str] | None = None,
    ) -> Iterator[MlflowRun]:
        """Yield the runs that have some tags; the arguments are those of `StoreReader`."""
        if digests is not None and not digests:
            return
        rows = iter(self._connection.execute(_run_query(tags, experiment_id)).all())
        if digests is not None:
            digests_by_run = self._tag_values(DIGEST_TAG, experiment_id)
            rows = iter([row for row in rows if digests_by_run.get(row.run_uuid) in digests])
        while batch := list(islice(rows, RUNS_PER_QUERY)):
            yield from self._complete_runs(batch)

    def read_tags(self, sweep_digest: str, names: Collection[str]) -> list[TaggedRun]:
        """Return some tags of the runs of a sweep."""
        of_sweep = select(TAGS.c.run_uuid).where(
            TAGS.c.key == "nal.sweep", TAGS.c.value == sweep_digest
        )
        query = (
            select(RUNS.c.run_uuid, RUNS.c.status, TAGS.c.key, TAGS.c.value)
            .join(TAGS, TAGS.c.run_uuid == RUNS.c.run_uuid)
            .where(
                RUNS.c.lifecycle_stage == ACTIVE,
                RUNS.c.run_uuid.in_(of_sweep),
                TAGS.c.key.in_(names),
            )
        )
        statuses: dict[str, str] = {}
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        for run_id, status, name, value in self._connection.execute(query):
            statuses[run_id] = status
            tags[run_id][name] = value
        return [TaggedRun(run_id, status, tags[run_id]) for run_id, status in statuses.items()]

    def read_run_tags(self, run_id: str) -> Mapping[str, str] | None:
        """Return the tags of the run with an ID of MLflow's; None if there is none."""
        query = (
            select(TAGS.c.key, TAGS.c.value)
            .join(RUNS, RUNS.c.run_uuid == TAGS.c.run_uuid)
            .where(RUNS.c.run_uuid == run_id, RUNS.c.lifecycle_stage == ACTIVE)
        )
        return dict(self._connection.execute(query).all()) or None

    def read_histories(
        self, run_ids: Sequence[str], metric: str
    ) -> dict[str, list[tuple[int, float]]]:
        """Return all values of a metric in some runs, by the run's ID."""
        histories: dict[str, list[tuple[int, float]]] = {run_id: [] for run_id in run_ids}
        remaining_ids = iter(run_ids)
        while batch := list(islice(remaining_ids, RUNS_PER_HISTORY_QUERY)):
            query = select(
                METRICS.c.run_uuid, METRICS.c.step, METRICS.c.value, METRICS.c.is_nan
            ).where(METRICS.c.key == metric, METRICS.c.run_uuid.in_(batch))
            for run_id, step, value, is_nan in self._connection.execute(query):
                histories[run_id].append((step, math.nan if is_nan else value))
        return histories

    def _tag_values(self, name: str, experiment_id: str | None) -> dict[str, str]:
        """Return the values of a tag by the ID of the run, in an experiment or in all."""
        query = (
            select(TAGS.c.run_uuid, TAGS.c.value)
            .join(RUNS, RUNS.c.run_uuid == TAGS.c.run_uuid)
            .where(TAGS.c.key == name)
        )
        if experiment_id is not None:
            query = query.where(RUNS.c.experiment_id == int(experiment_id))
        return dict(self._connection.execute(query).all())

    def _complete_runs(self, rows: Sequence[Row[Any]]) -> Iterator[MlflowRun]:
        """Yield the runs of some rows of `RUNS` with their metrics, parameters and tags."""
        run_ids = [row.run_uuid for row in rows]
        metrics, params, tags = (
            self._read_values(table, run_ids) for table in (LATEST_METRICS, PARAMS, TAGS)
        )
        for row in rows:
            run_id = row.run_uuid
            info = MlflowRunInfo(
                run_id, str(row.experiment_id), row.status, row.artifact_uri, row.end_time
            )
            yield MlflowRun(info, MlflowRunData(metrics[run_id], params[run_id], tags[run_id]))

    def _read_values(self, table: Table, run_ids: Sequence[str]) -> Mapping[str, dict[str, Any]]:
        """Return the values in a table of metrics, parameters or tags, by run and by name.

        The rows are read from the driver's cursor, since SQLAlchemy's objects for rows take five
        times as long.
        """
        columns = table.c
        query = select(
            columns.run_uuid,
            columns.key,
            columns.value,
            columns.is_nan if table is LATEST_METRICS else literal(0),
        ).where(columns.run_uuid.in_(run_ids))
        sql = query.compile(self._connection.engine, compile_kwargs={"literal_binds": True})
        values: dict[str, dict[str, Any]] = defaultdict(dict)
        try:
            with closing(self._connection.connection.cursor()) as cursor:
                cursor.execute(str(sql))
                rows = cursor.fetchall()
        except self._connection.dialect.loaded_dbapi.Error as error:
            raise SQLAlchemyError(str(error)) from error
        for run_id, name, value, is_nan in rows:
            values[run_id][name] = math.nan if is_nan else value
        return values


def _run_query(tags: Mapping[str, str], experiment_id: str | None) -> Select[Any]:
    """Return the query of the runs that have some tags, in an experiment or in all."""
    query = select(RUNS).where(RUNS.c.lifecycle_stage == ACTIVE)
    if experiment_id is None:
        query = query.join(EXPERIMENTS, EXPERIMENTS.c.experiment_id == RUNS.c.experiment_id).where(
            EXPERIMENTS.c.lifecycle_stage == ACTIVE
        )
    else:
        query = query.where(RUNS.c.experiment_id == int(experiment_id))
    for name, value in tags.items():
        tag = TAGS.alias()
        query = query.join(tag, tag.c.run_uuid == RUNS.c.run_uuid).where(
            tag.c.key == name, tag.c.value == value
        )
    return query.order_by(RUNS.c.start_time.desc(), RUNS.c.run_uuid)
