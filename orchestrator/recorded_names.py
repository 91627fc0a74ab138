"""A check of the names of sweeps that does not import MLflow, whose import takes seconds."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import iter_archives
from reports.plan_record import PLAN_FILE
from reports.store import home_database, home_store_uri, no_such_sweep
from search_spaces.files import is_study_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.home import Home

_QUERY = """
SELECT study.value, sweep.value
FROM runs
JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = 'nal.kind'
JOIN tags AS study ON study.run_uuid = runs.run_uuid AND study.key = 'nal.study'
JOIN tags AS sweep ON sweep.run_uuid = runs.run_uuid AND sweep.key = 'nal.sweep'
LEFT JOIN tags AS started ON started.run_uuid = runs.run_uuid AND started.key = 'nal.started'
WHERE kind.value = 'sweep' AND runs.lifecycle_stage = 'active'
ORDER BY started.value DESC, runs.start_time DESC
"""
"""Study and digest of the sweeps in MLflow's database, latest first."""


def check_recorded(home: Home, sweeps: Iterable[str]) -> None:
    """Check that each name belongs to a sweep in a home folder, as far as sweeps can be read.

    Args:
        home: home folder, with MLflow's database.
        sweeps: names of studies, beginnings of digests, or paths of study files, which are not
            checked.

    Raises:
        UserError: if no sweep has one of the names.
    """
    recorded = dict.fromkeys([*_iter_stored(home), *_iter_archived(home)])
    for name in sweeps:
        is_known = any(name == study or digest.startswith(name) for study, digest in recorded)
        if recorded and not is_known and not is_study_path(name):
            labels = (f"{study} {digest[:12]}" for study, digest in recorded)
            raise no_such_sweep(name, home_store_uri(home.path), labels)


def _iter_stored(home: Home) -> Iterator[tuple[str, str]]:
    """Yield study and digest of the sweeps in the database; none if it cannot be read."""
    path = home_database(home.path)
    if path.exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as database:
            yield from database.execute(_QUERY).fetchall()


def _iter_archived(home: Home) -> Iterator[tuple[str, str]]:
    """Yield study and digest of the sweeps in the archive, which the store may lack."""
    for archive in iter_archives(home.path):
        with suppress(OSError, ValueError, KeyError, TypeError):
            plan = json.loads((archive.folder / PLAN_FILE).read_bytes())
            yield str(plan["study"]), str(plan["sweep"])
