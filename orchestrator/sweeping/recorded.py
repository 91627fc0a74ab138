"""Runs of a sweep that are recorded, as they are before it starts."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.sweeping.search import open_search_storage
from orchestrator.sweeping.sweep import Sweep

if TYPE_CHECKING:
    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class RecordedRuns:
    """Runs of a sweep that are recorded.

    Attributes:
        count: number of runs.
        is_complete: whether no run of the sweep is left to carry out.
        sweep: the sweep with these runs, whose searches are a copy and must not be continued; None
            if no run is recorded in the home folder.
    """

    count: int
    is_complete: bool
    sweep: Sweep | None = field(default=None, compare=False)


def find_recorded_runs(
    plan: Plan, home: Home, settled_digests: frozenset[str] = frozenset()
) -> RecordedRuns:
    """Return the runs with which a sweep would start, without changing the home folder.

    The sweep is resumed on a copy of the database of searches.

    Args:
        plan: plan of the sweep.
        home: home folder, which need not exist.
        settled_digests: digests of runs that need not be read; see `Sweep`.

    Raises:
        sqlite3.Error: if the database of searches is damaged.
        NalError: if a record is damaged or contradicts the sweep.
    """
    if not any(home.path.glob("runs/*/result.json")):
        return RecordedRuns(0, is_complete=False)
    with tempfile.TemporaryDirectory() as folder:
        copy_path = Path(folder, "optuna.db")
        if home.search_database.exists():
            _copy_database(home.search_database, copy_path)
        storage = open_search_storage(copy_path)
        try:
            sweep = Sweep(plan, home.path, storage, settled_digests)
            count = sweep.resume(lambda _task, _result: None)
            return RecordedRuns(count, sweep.done, sweep)
        finally:
            storage.engine.dispose()


def _copy_database(path: Path, copy_path: Path) -> None:
    """Copy an SQLite database, which another process may be writing, without changing it.

    A process that was killed in a transaction leaves a journal, by which the next writer undoes the
    transaction. It is undone in the copy.
    """
    try:
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy_path)) as copy,
        ):
            source.backup(copy)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        for suffix in ("", "-journal"):
            shutil.copyfile(f"{path}{suffix}", f"{copy_path}{suffix}")
