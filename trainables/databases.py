"""URLs of databases, and creation of SQLite files that killed processes cannot leave incomplete."""

from __future__ import annotations

import os
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from trainables.errors import HomeError
from trainables.locks import file_lock

if TYPE_CHECKING:
    from collections.abc import Callable


POSTGRESQL_DRIVERS = ("psycopg2", "psycopg")
"""Names of drivers for PostgreSQL, the preferred one first."""

_URL_PREFIX = "sqlite:///"


def with_installed_driver(url: str) -> str:
    """Return the SQLAlchemy URL of a database, with an installed driver for PostgreSQL.

    SQLAlchemy's own default for `postgresql://` depends on its version.

    Args:
        url: URL of any database; unchanged unless it begins with `postgresql://`.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme != "postgresql":
        return url
    driver = next((name for name in POSTGRESQL_DRIVERS if find_spec(name)), POSTGRESQL_DRIVERS[0])
    return f"{scheme}+{driver}://{rest}"


def database_url(path: Path) -> str:
    """Return the SQLAlchemy URL of an SQLite database.

    SQLAlchemy decodes `%` in a URL and reads what follows `?` as options, so both are encoded.
    """
    return f"{_URL_PREFIX}{path}".replace("%", "%25").replace("?", "%3F")


def database_path(url: str) -> Path | None:
    """Return the path of the SQLite database that a SQLAlchemy URL names; None for other URLs."""
    if not url.startswith(_URL_PREFIX):
        return None
    return Path(unquote(url.removeprefix(_URL_PREFIX).partition("?")[0]))


def database_lock_path(path: Path) -> Path:
    """Return the path of the file that a process locks while it creates or replaces a database."""
    return path.with_name(f"{path.name}.lock")


def create_database(path: Path, create: Callable[[Path], None]) -> None:
    """Create an SQLite database, unless the file exists and is not empty.

    The database is created under another name in the same folder and then renamed. If several
    processes create it at the same time, the others wait for the first.

    Args:
        path: path of the database.
        create: function that creates the database at the path that it receives, and closes all
            connections to it.

    Raises:
        HomeError: if the folder is not writable.
    """
    if _has_content(path):
        return
    try:
        with file_lock(database_lock_path(path)):
            if _has_content(path):
                return
            partial_path = path.with_name(f".{path.name}.{os.getpid()}.partial")
            _remove_partial_files(path)  # of killed processes, since this process holds the lock
            try:
                create(partial_path)
                partial_path.replace(path)
            finally:
                _remove_partial_files(path)
    except OSError as error:
        raise HomeError(f"cannot write {path}: {error.strerror}") from error


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _remove_partial_files(path: Path) -> None:
    """Remove the incomplete files of a database, including SQLite's journals."""
    for partial_path in path.parent.glob(f".{escape(path.name)}.*.partial*"):
        partial_path.unlink()
