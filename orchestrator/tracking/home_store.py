"""The MLflow store of a home folder, `mlflow.db` with `artifacts/`, kept consistent with the home.

Everything in the store follows from the records in the home folder. A damaged store is therefore
replaced by a new one, and what a store lacks is written from the records. MLflow stores absolute
addresses of artifacts; they are corrected when the home folder has been copied or moved.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.output import CommandConsole
from orchestrator.recorded_names import nothing_recorded
from orchestrator.tracking.restoring import StoredRecords, restore_store
from reports.store import (
    DAMAGE_ADVICE,
    TIMEOUT_S,
    check_store,
    find_damage,
    home_database,
    home_store_uri,
    other_artifact_roots,
)
from trainables.databases import database_lock_path
from trainables.errors import HomeError
from trainables.locks import file_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.home import Home

ADDRESS_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)
"""Tables and columns of MLflow's database that hold addresses of artifacts."""


def open_home_store(home: Home) -> str:
    """Update the MLflow store of a home folder in which runs are recorded, and return its URI.

    Raises:
        HomeError: if nothing is recorded in the home folder, or the store cannot be used.
    """
    update_home_store(home)
    if not home_database(home.path).exists():
        raise nothing_recorded(home)
    return home_store_uri(home.path)


def update_home_store(home: Home) -> None:
    """Repair the MLflow store of a home folder, and write the recorded runs that it lacks.

    Nothing is created if no runs are recorded. A study that another process is carrying out is
    left to that process.

    Raises:
        HomeError: if the store cannot be used.
    """
    stored_records = repair_home_store(home)
    if restore_store(home, home_store_uri(home.path), stored_records).has_written:
        _print_note(
            f"MLflow store {home_database(home.path)} lacked recorded runs or plans: "
            "they were written to it"
        )


def repair_home_store(home: Home, *, reads_all_pages: bool = False) -> StoredRecords:
    """Rename a damaged MLflow store of a home folder, or correct the addresses of its artifacts.

    Args:
        home: home folder; its store may be missing.
        reads_all_pages: whether to search the whole database for damage; see `find_damage`.

    Returns:
        The sweeps and runs in the store.

    Raises:
        HomeError: if the store cannot be used.
    """
    path = home_database(home.path)
    _rename_if_damaged(path, reads_all_pages=reads_all_pages)
    if not path.exists() or path.stat().st_size == 0:
        return StoredRecords()
    check_store(home_store_uri(home.path))
    with _open_database(path) as database:
        _correct_addresses(database, home.artifact_dir)
        return StoredRecords.read(database)


def _rename_if_damaged(path: Path, *, reads_all_pages: bool) -> None:
    """Rename a damaged database, so that a new one can be created; nothing is deleted."""
    if not path.exists() or not find_damage(path, reads_all_pages=reads_all_pages):
        return
    with file_lock(database_lock_path(path)):
        # Another process may have renamed the database meanwhile.
        damage = find_damage(path, reads_all_pages=reads_all_pages) if path.exists() else ""
        if not damage:
            return
        now = datetime.now().astimezone()
        new_path = path.with_stem(f"{path.stem}-damaged-{now:%Y-%m-%d-%H%M%S}")
        path.rename(new_path)
    _print_note(
        f"MLflow store {path} is damaged ({damage}): it was renamed to {new_path.name}, and a new "
        "store is written from the recorded runs"
    )


@contextmanager
def _open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an SQLite database; the changes in the context are one transaction.

    Raises:
        HomeError: if the database is damaged, locked or not writable.
    """
    try:
        with closing(sqlite3.connect(path, timeout=TIMEOUT_S)) as database, database:
            yield database
    except sqlite3.OperationalError as error:
        raise HomeError(f"MLflow store {path} cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise HomeError(f"MLflow store {path} is damaged ({error}): {DAMAGE_ADVICE}") from error


def _correct_addresses(database: sqlite3.Connection, artifact_dir: Path) -> None:
    """Replace the addresses of artifacts below another folder, where the home folder was before."""
    new_root = artifact_dir.as_uri()
    for old_root in other_artifact_roots(database, artifact_dir):
        for table, column in ADDRESS_COLUMNS:
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - constants
                f"WHERE substr({column}, 1, ?) = ?",
                (new_root, len(old_root) + 1, len(old_root) + 1, f"{old_root}/"),
            )


def _print_note(text: str) -> None:
    CommandConsole(stderr=True).print(text, soft_wrap=True)
