"""Number of a sweep's runs that are recorded, for a dry run."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.sweeping.search import open_search_storage
from orchestrator.sweeping.sweep import Sweep

if TYPE_CHECKING:
    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan


def recorded_run_count(plan: Plan, home: Home) -> int:
    """Return the number of runs with which a sweep would start, without changing the home folder.

    The sweep is resumed on a copy of the database of searches.

    Args:
        plan: plan of the sweep.
        home: home folder, which need not exist.

    Raises:
        sqlite3.Error: if the database of searches is damaged.
        NalError: if a record is damaged or contradicts the sweep.
    """
    if not any(home.path.glob("runs/*/result.json")):
        return 0
    with tempfile.TemporaryDirectory() as folder:
        copy_path = Path(folder, "optuna.db")
        if home.search_database.exists():
            source_uri = f"{home.search_database.as_uri()}?mode=ro"
            with (
                closing(sqlite3.connect(source_uri, uri=True)) as source,
                closing(sqlite3.connect(copy_path)) as copy,
            ):
                source.backup(copy)
        storage = open_search_storage(copy_path)
        try:
            return Sweep(plan, home.path, storage).resume(lambda _task, _result: None)
        finally:
            storage.engine.dispose()
