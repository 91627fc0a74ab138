"""A sweep on a disk that becomes full, in each place where the sweep writes to it."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from command_line import call_command, check_curves, results, runs_in_mlflow

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

SIZES = ("--epochs", 2, "--trials", 6, "--seeds", 1, "--set", "select.seeds=[2000]")

PLACES = {
    "plan.json": "cannot write {home}/sweeps/*/plan.json: No space left on device",
    "optuna.db": "{home}/optuna.db: database or disk is full: check that the disk has space; *",
    "mlflow.db": "MLflow store *{home}/mlflow.db failed: database or disk is full: free space, *",
    "result.json": "cannot write {home}/runs/*/result.json: No space left on device",
    "report.html": "cannot write {home}/sweeps/*/report.html: No space left on device",
}
"""Lines that say that the disk was full, by the file that could not be written."""


class FullDisk:
    """A disk on which files of one name cannot be written, and a database keeps its size.

    Attributes:
        name: name of the file; "" for none.
    """

    name = ""

    def __init__(self) -> None:
        self._fsync = os.fsync

    def sync(self, descriptor: int) -> None:
        """Write a file to the disk, in place of `os.fsync`."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if self.name and path.name.startswith(f".{self.name}."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._fsync(descriptor)

    def limit(self, connection: Any, _record: object, _proxy: object) -> None:
        """Limit the size of the database of a connection that is about to be used."""
        with closing(connection.cursor()) as cursor:
            paths = [Path(path) for _, _, path in cursor.execute("PRAGMA database_list") if path]
            is_full = self.name in {path.name for path in paths}
            # A database cannot have fewer pages than it has.
            cursor.execute(f"PRAGMA max_page_count = {1 if is_full else 2**30}")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    """A disk with space for everything, until its attribute `name` is set."""
    disk = FullDisk()
    monkeypatch.setattr(os, "fsync", disk.sync)
    sqlalchemy.event.listen(sqlalchemy.Engine, "checkout", disk.limit)
    yield disk
    sqlalchemy.event.remove(sqlalchemy.Engine, "checkout", disk.limit)


def fill_pages(database: Path) -> None:
    """Leave so little space in the pages of a database that it grows with the next few rows."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("VACUUM")


def sweep(home: Path) -> subprocess.CompletedProcess[str]:
    return call_command("sweep", "digits", *SIZES, "--engine", "inline", "--home", home, "--json")


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, disk: FullDisk) -> None:
    home = tmp_path / "home"
    disk.name = "result.json"
    assert sweep(home).returncode == 2  # creates the database of searches
    fill_pages(home / "optuna.db")
    recorded: dict[str, Any] = {}
    for name, line in PLACES.items():
        disk.name = name
        process = sweep(home)
        assert process.returncode == 2, name
        assert Path(process.stderr.splitlines()[-1]).match(f"error: {line.format(home=home)}"), (
            process.stderr
        )
        assert "Traceback" not in process.stderr
        assert process.stdout == ""
        assert not list(home.rglob("*.partial"))
        before, recorded = recorded, results(home)
        assert {digest: recorded[digest] for digest in before} == before
    disk.name = ""
    finished = sweep(home)
    assert finished.returncode == 0, finished.stderr
    assert results(home) == recorded
    assert json.loads(finished.stdout)["state"] == "finished"
    uri = f"sqlite:///{home}/mlflow.db"
    check_curves(uri, home)
    assert [run.info.status for run in runs_in_mlflow(uri, "sweep")] == ["FINISHED"]
    with closing(sqlite3.connect(home / "optuna.db")) as searches:
        states = Counter(state for (state,) in searches.execute("SELECT state FROM trials"))
    assert states == {"COMPLETE": 6}
