"""Comparison of the MLflow store in a home folder with the records there, which changes neither."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import iter_archives
from orchestrator.tracking.restoring import StoredRecords
from reports.store import TIMEOUT_S, home_database
from trainables.errors import HomeError, RecordError

if TYPE_CHECKING:
    from orchestrator.home import Home


@dataclass(frozen=True, slots=True)
class Lacking:
    """What an MLflow store and the records of its home folder do not have in common.

    Attributes:
        sweeps: study and beginning of the digest of each sweep that the store lacks, or has with
            another plan. Studies that a process is carrying out are left out.
        run_count: number of recorded runs of the sweeps that the store lacks.
        unrecorded_count: number of runs in the store that have no record.
    """

    sweeps: tuple[str, ...]
    run_count: int
    unrecorded_count: int


def find_lacking(home: Home) -> Lacking | None:
    """Compare the MLflow store in a home folder with the records; None if there is no store.

    The database is opened for reading only, and MLflow is not imported.

    Args:
        home: home folder.

    Raises:
        HomeError: if the database cannot be read.
    """
    path = home_database(home.path)
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        uri = f"{path.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=TIMEOUT_S)) as database:
            stored = StoredRecords.read(database)
    except sqlite3.Error as error:
        raise HomeError(
            f"MLflow store {path} cannot be read ({error}): if no sweep is running, "
            "`python -m orchestrator sync` keeps it under another name and writes it anew"
        ) from error
    recorded = {file.parent.name for file in (home.path / "runs").glob("*/result.json")}
    sweeps, lacking_runs = [], set()
    for archive in iter_archives(home.path):
        try:
            plan, _ = archive.read_plan_and_study()
        except RecordError:
            continue  # named by another check
        if home.is_carried_out(plan.study):
            continue
        if not stored.has_sweep(plan, recorded, home.path):
            sweeps.append(f"{plan.study} {plan.sweep[:12]}")
        lacking_runs |= {
            digest
            for digest in plan.digests & recorded
            if not stored.has_run(plan.sweep, digest, home.path, plan.stopped_digests)
        }
    stored_digests = {digest for _, digest in stored.statuses}
    return Lacking(tuple(sweeps), len(lacking_runs), len(stored_digests - recorded))
