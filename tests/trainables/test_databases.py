from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

from trainables.databases import create_database, database_path, database_url
from trainables.errors import HomeError

if TYPE_CHECKING:
    from pathlib import Path

KILLED_WHILE_CREATING = """
import os, signal, sqlite3, sys
from pathlib import Path
from trainables.databases import create_database

def create(path):
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE half (x)")
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO half VALUES (1)")
    os.kill(os.getpid(), signal.SIGKILL)

create_database(Path(sys.argv[1]), create)
"""


def create_empty_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE whole (x)")


def table_names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM sqlite_master")]


@pytest.mark.parametrize("name", ["a.db", "a b.db", "ö %41.db", "a?b#c.db", "100%.db"])
def test_a_url_names_the_database(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    url = database_url(path)
    assert make_url(url).database == str(path)
    assert database_path(url) == path
    assert database_path(f"{url}?timeout=5") == path
    assert database_path("http://127.0.0.1:5000") is None


def test_a_killed_process_leaves_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a[1].db"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_CREATING, path], check=False)
    assert killed.returncode == -9
    assert not path.exists()
    create_database(path, create_empty_table)
    assert table_names(path) == ["whole"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a[1].db", "a[1].db.lock"]


def test_an_existing_database_is_kept_and_an_empty_file_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.touch()
    create_database(path, create_empty_table)
    assert table_names(path) == ["whole"]
    content = path.read_bytes()
    create_database(path, lambda _: pytest.fail("the database exists"))
    assert path.read_bytes() == content


def test_a_failed_creation_leaves_no_file(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        create_database(tmp_path / "a.db", fail)
    assert [file.name for file in tmp_path.iterdir()] == ["a.db.lock"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=r"cannot write .*a\.db: No such file"):
        create_database(tmp_path / "none" / "a.db", create_empty_table)
