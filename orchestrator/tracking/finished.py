"""Sweeps that an MLflow store has completely, so that nothing of them need be read or written."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.tracking.doubles import IDENTITY_TAGS, has_doubles
from orchestrator.tracking.tracker import STARTED_TAG
from reports.database_reader import write_tag
from reports.store import translate_database_errors
from reports.stored_runs import ENDED_STATUSES, RESUMABLE_STATUSES, open_reader
from trainables.databases import database_path
from trainables.run.result import Status

if TYPE_CHECKING:
    from pathlib import Path

RUN_TAGS = (*IDENTITY_TAGS, "nal.status")
"""Names of the tags that tell which training runs a store has, and how they ended."""


@dataclass(frozen=True, slots=True)
class FinishedSweep:
    """A sweep that was written to an MLflow store completely, with its tables.

    Attributes:
        run_id: ID of the MLflow run that represents the sweep.
        run_digests: digests of its training runs whose final result is in the store, and of which
            the home folder has a record, which was not read.
        stopped_digests: digests of its training runs that are in the store as stopped early.
    """

    run_id: str
    run_digests: frozenset[str]
    stopped_digests: frozenset[str]

    def mark_started(self, uri: str) -> None:
        """Make the sweep the latest one of its store, as its command was typed again.

        The tag is written without MLflow, whose import would take most of the command's time.

        Args:
            uri: URI of the MLflow store, which is a database.

        Raises:
            ServiceError: if the store has failed.
            HomeError: if the SQLite file cannot be written.
        """
        now = datetime.now(UTC).isoformat()
        with translate_database_errors(uri):
            write_tag(uri, self.run_id, STARTED_TAG, now)


def find_finished_sweep(uri: str, sweep_digest: str, home_dir: Path) -> FinishedSweep | None:
    """Return a sweep that was written to an MLflow store completely; None if it was not.

    Names of files and a few tags are compared. No record of a run is read, but empty ones do not
    count. None also for stores that are MLflow servers, which cannot be asked for tags alone, and
    for a sweep with doubled MLflow runs, which are to be deleted.

    Args:
        uri: URI of the MLflow store.
        sweep_digest: digest of the sweep.
        home_dir: home folder with the records of the runs.

    Raises:
        ServiceError: if the store has failed.
        HomeError: if the SQLite file cannot be read.
    """
    recorded_digests = {
        path.parent.name
        for path in (home_dir / "runs").glob("*/result.json")
        if path.stat().st_size
    }
    database = database_path(uri)
    if not recorded_digests or (database is not None and not database.exists()):
        return None
    with open_reader(uri) as store:
        runs = store.read_tags(sweep_digest, RUN_TAGS)
    by_kind = defaultdict(list)
    for run in runs:
        by_kind[run.tags.get("nal.kind", "")].append(run)
    sweep_runs = by_kind["sweep"]
    if len(sweep_runs) != 1 or sweep_runs[0].status != "FINISHED" or has_doubles(runs):
        return None
    ended_runs = [run for run in by_kind["run"] if run.status in ENDED_STATUSES]
    final_digests = {
        run.tags["nal.digest"]
        for run in ended_runs
        if run.tags["nal.status"] not in RESUMABLE_STATUSES
    }
    stopped_digests = {
        run.tags["nal.digest"] for run in ended_runs if run.tags["nal.status"] == Status.STOPPED
    }
    return FinishedSweep(
        sweep_runs[0].run_id,
        frozenset(final_digests & recorded_digests),
        frozenset(stopped_digests),
    )
