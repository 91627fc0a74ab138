"""A check of the names of sweeps that does not import MLflow, whose import takes seconds."""

from __future__ import annotations

import json
import shlex
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import iter_archives
from reports.plan_record import PLAN_FILE
from reports.store import home_database, home_store_uri, no_such_sweep
from search_spaces.files import is_study_path
from trainables.errors import HomeError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orchestrator.home import Home

_QUERY = """
SELECT study.value, sweep.value, runs.lifecycle_stage
FROM runs
JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = 'nal.kind'
JOIN tags AS study ON study.run_uuid = runs.run_uuid AND study.key = 'nal.study'
JOIN tags AS sweep ON sweep.run_uuid = runs.run_uuid AND sweep.key = 'nal.sweep'
LEFT JOIN tags AS started ON started.run_uuid = runs.run_uuid AND started.key = 'nal.started'
WHERE kind.value = 'sweep'
ORDER BY started.value DESC, runs.start_time DESC
"""
"""Study, digest and lifecycle stage of the sweeps in MLflow's database, latest first."""

Name = tuple[str, str]
"""Name of a study, and digest of one of its sweeps."""


def nothing_recorded(home: Home) -> HomeError:
    """Return the error for a home folder in which no run is recorded."""
    return HomeError(
        f"no run is recorded in the home folder {home.path}: run `python -m orchestrator sweep "
        "STUDY` first, or name another folder",
        "--home names the folder",
    )


def require_sweeps(home: Home) -> None:
    """Check that a sweep is recorded in a home folder.

    Raises:
        HomeError: if nothing is recorded there.
        UserError: if only runs outside sweeps are recorded there, or only sweeps whose runs are
            marked as deleted in MLflow, as after the undo of `sweeps remove`.
    """
    database = home_database(home.path)
    if any(iter_stored(database)):
        return
    archived = list(_iter_archived(home))
    if archived and {*iter_stored(database, stage="deleted")}.issuperset(archived):
        raise _deleted_in_mlflow(home, *archived[-1])
    if any(iter_archives(home.path)):  # damaged ones are named when they are read
        return
    if not database.exists() and not any(home.path.glob("runs/*/spec.json")):
        raise nothing_recorded(home)
    raise UserError(
        f"no sweep is recorded in {home_store_uri(home.path)}: run `python -m orchestrator sweep "
        "STUDY` first"
    )


def check_recorded(home: Home, sweeps: Iterable[str]) -> None:
    """Check that each name belongs to a sweep in a home folder, as far as sweeps can be read.

    Args:
        home: home folder, with MLflow's database.
        sweeps: names of studies, beginnings of digests, or paths of study files, which are not
            checked.

    Raises:
        UserError: if no sweep has one of the names, or only a sweep whose runs are marked as
            deleted in MLflow, as after the undo of `sweeps remove`.
    """
    database = home_database(home.path)
    stored, archived = list(iter_stored(database)), list(_iter_archived(home))
    deleted = {*iter_stored(database, stage="deleted")} - {*stored}
    recorded = dict.fromkeys([*stored, *archived])
    for name in sweeps:
        matches = [each for each in recorded if name == each[0] or each[1].startswith(name)]
        if is_study_path(name) or not recorded:
            continue
        if not matches:
            labels = (f"{study} {digest[:12]}" for study, digest in recorded)
            raise no_such_sweep(name, home_store_uri(home.path), labels)
        if deleted.issuperset(matches):
            raise _deleted_in_mlflow(home, *matches[0])


def _deleted_in_mlflow(home: Home, study: str, digest: str) -> UserError:
    """Return the error for a sweep in a home folder whose runs in MLflow are marked as deleted."""
    sync = shlex.join(["python", "-m", "orchestrator", "sync", "--home", str(home.path)])
    return UserError(
        f"sweep {digest[:12]} of '{study}' is recorded under --home {home.path}, but its runs are "
        f"marked as deleted in MLflow, as `sweeps remove` does: run `{sync}` first, which writes "
        "them again"
    )


def iter_stored(path: Path, stage: str = "active") -> Iterator[Name]:
    """Yield study and digest of the sweeps in a database of MLflow, latest first.

    Args:
        path: path of the database; it has no sweeps if it is missing or cannot be read.
        stage: MLflow's lifecycle stage of the sweeps, "active" or "deleted".
    """
    if path.exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as database:
            for study, digest, sweep_stage in database.execute(_QUERY).fetchall():
                if sweep_stage == stage:
                    yield study, digest


def _iter_archived(home: Home) -> Iterator[Name]:
    """Yield study and digest of the sweeps in the archive, which the store may lack."""
    for archive in iter_archives(home.path):
        with suppress(OSError, ValueError, KeyError, TypeError):
            plan = json.loads((archive.folder / PLAN_FILE).read_bytes())
            yield str(plan["study"]), str(plan["sweep"])
