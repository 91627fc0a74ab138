"""Reading of runs from MLflow stores: the interface, and what it returns.

MLflow's search builds an object for every metric, parameter and tag, about 5 ms of work for each
run, and its import takes seconds. Of a store that is a database, the tables are therefore read
without MLflow; a server is searched through MLflow's client.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.store import check_store, open_store, translate_database_errors, translate_store_errors
from trainables.run.result import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

DIGEST_TAG = "nal.digest"
"""Name of the MLflow tag that holds the digest of a training run."""

ENDED_STATUSES = ("FINISHED", "FAILED")
"""MLflow's statuses of runs that are written completely; the status is written last."""

RESUMABLE_STATUSES = (Status.OUT_OF_MEMORY, Status.STOPPED)
"""Statuses of runs whose training may continue later."""


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


def preferred_run(runs: Iterable[MlflowRun]) -> MlflowRun:
    """Return the one of several MLflow runs of the same sweep, cell or training run that counts.

    There are several if MLflow has carried out a request whose answer was lost, and which was
    repeated. A complete one counts, and a final result before one whose training may continue; then
    the one with the most content, since a double was left as it was created; then the oldest.

    Args:
        runs: the MLflow runs, at least one, the most recently started one first.
    """
    return max(
        reversed(list(runs)),
        key=lambda run: (
            run.info.status in ENDED_STATUSES,
            run.data.tags.get("nal.status") not in RESUMABLE_STATUSES,
            len(run.data.metrics) + len(run.data.params) + len(run.data.tags),
        ),
    )


class StoreReader(ABC):
    """An MLflow store that is open for reading.

    Runs that were deleted in MLflow are left out everywhere.
    """

    @abstractmethod
    def read_runs(
        self,
        tags: Mapping[str, str],
        experiment_id: str | None = None,
        digests: Collection[str] | None = None,
    ) -> Iterator[MlflowRun]:
        """Yield the runs that have some tags, the most recently started one first.

        Args:
            tags: values of tags, by name.
            experiment_id: ID of the MLflow experiment; None for all experiments.
            digests: digests of the training runs to which the search is limited; None for no limit.
        """

    @abstractmethod
    def read_tags(self, sweep_digest: str, names: Collection[str]) -> list[TaggedRun]:
        """Return some tags of the runs of a sweep, in a twentieth of the time of `read_runs`.

        A server has no request for tags alone: of such a store, no run is returned.

        Args:
            sweep_digest: digest of the sweep.
            names: names of the tags.
        """

    @abstractmethod
    def read_run_tags(self, run_id: str) -> Mapping[str, str] | None:
        """Return the tags of the run with an ID of MLflow's, by name; None if there is none."""

    @abstractmethod
    def read_histories(
        self, run_ids: Sequence[str], metric: str
    ) -> dict[str, list[tuple[int, float]]]:
        """Return all values of a metric in some runs, as pairs of step and value, by the run's ID.

        The pairs are in no particular order. A server has no request for several runs that returns
        all values, so that it is asked for one run after the other, about 6 ms each.

        Args:
            run_ids: MLflow's IDs of the runs.
            metric: name of the metric.
        """


@contextmanager
def open_reader(uri: str) -> Iterator[StoreReader]:
    """Open an MLflow store for reading, for the duration of the context.

    Nothing is created: a missing SQLite file is read as an empty store.

    Args:
        uri: URI of the MLflow store.

    Raises:
        ServiceError: if the server does not answer, or fails in the context.
        HomeError: if the SQLite file cannot be used.
    """
    if uri.lower().startswith(("http://", "https://")):
        from reports.server_reader import ServerReader

        client = open_store(uri)
        with translate_store_errors(uri):
            yield ServerReader(client)
        return
    check_store(uri)
    with translate_database_errors(uri):
        from reports.database_reader import open_database

        with open_database(uri) as reader:
            yield reader
