"""Access to MLflow stores.

A store is checked before MLflow opens it, because MLflow's own retries take minutes. MLflow is
imported inside functions because the import takes two seconds.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import HomeError, NalError, ServiceError
from trainables.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow import MlflowClient
    from mlflow.entities import Run

TIMEOUT_S = 8.0
"""Time that a server may take to answer, including name resolution, in seconds."""

_PAGE_SIZE = 1000
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_ALLOWED_URIS = "use http(s)://HOST:PORT of an MLflow server, or sqlite:///PATH"


def home_store(home: Path) -> str:
    """Return the URI of the MLflow store in a home folder."""
    return f"sqlite:///{home / 'mlflow.db'}"


def existing_store(home: Path) -> str:
    """Return the URI of the MLflow store in a home folder, after checking that the store exists.

    Raises:
        HomeError: if the store is missing or cannot be read.
    """
    uri = home_store(home)
    path = home / "mlflow.db"
    if not path.exists() and any((home / "runs").glob("*/result.json")):
        raise HomeError(
            f"{path} is missing, but runs are recorded under --home {home}: `python -m "
            "orchestrator sync` writes it again from them"
        )
    if not path.exists():
        raise HomeError(
            f"nothing is recorded under --home {home}: run `python -m orchestrator sweep "
            "STUDY` first, or name another folder with --home"
        )
    check_store(uri)
    return uri


def check_store(uri: str) -> None:
    """Check within ten seconds, and without importing MLflow, that a store can be used.

    Raises:
        ServiceError: if no server answers, or the URI is of a kind that is not supported.
        HomeError: if the folder of an SQLite file is missing or not writable, or the file is
            damaged.
    """
    scheme = urllib.parse.urlsplit(uri).scheme.split("+")[0]
    if scheme in ("http", "https"):
        _check_server(uri, lambda: _server_fault(uri))
    elif scheme in _DATABASE_PORTS:
        _check_server(uri, lambda: _port_fault(uri, _DATABASE_PORTS[scheme]))
    elif scheme == "sqlite":
        _check_file(uri)
    elif scheme in ("", "file"):
        raise ServiceError(
            f"tracking URI '{uri}': MLflow no longer keeps runs in plain folders; {_ALLOWED_URIS}"
        )
    else:
        raise ServiceError(f"tracking URI '{uri}': unknown kind '{scheme}'; {_ALLOWED_URIS}")


def open_store(uri: str) -> MlflowClient:
    """Return a client of a store; a missing SQLite file is created.

    Raises:
        ServiceError: if the server does not answer, or is not an MLflow server.
        HomeError: if the SQLite file cannot be used.
    """
    check_store(uri)
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    from mlflow import MlflowClient

    # `translate_store_errors` reports failures; these loggers would print tracebacks before it.
    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    path = _sqlite_path(uri)
    # Two processes that create one SQLite database at once crash each other.
    with (
        locked(path.with_name(path.name + ".lock")) if path else nullcontext(),
        translate_store_errors(uri),
    ):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def search_runs(client: MlflowClient, experiments: list[str], query: str) -> Iterator[Run]:
    """Yield the runs of some experiments that match a query, the latest first."""
    token: str | None = None
    while True:
        page = client.search_runs(experiments, query, max_results=_PAGE_SIZE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


@contextmanager
def translate_store_errors(uri: str) -> Iterator[None]:
    """Translate errors of a store into errors with a message of one line.

    Raises:
        HomeError: if an SQLite store failed.
        ServiceError: if another store failed.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except NalError:
        raise
    except (MlflowException, SQLAlchemyError, OSError) as error:
        error_class = HomeError if _sqlite_path(uri) else ServiceError
        raise error_class(
            f"MLflow store {without_password(uri)} failed: {first_cause(error)}"
        ) from error


def first_cause(error: BaseException) -> str:
    """Return the first line of an error's root cause, for example "database or disk is full"."""
    cause = error
    while inner := getattr(cause, "orig", None) or cause.__cause__:
        cause = inner
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]


def without_password(uri: str) -> str:
    """Return a URI with its password, if any, replaced by ***."""
    password = urllib.parse.urlsplit(uri).password
    return uri if password is None else uri.replace(f":{password}@", ":***@", 1)


def _check_server(uri: str, find_fault: Callable[[], str]) -> None:
    """Raise `ServiceError` if a server has a fault or does not answer in time.

    Args:
        uri: URI of the store, for messages.
        find_fault: function that returns the fault of the server, "" for none. It runs in a
            thread that is abandoned after the timeout, because name resolution has no timeout.
    """
    faults: list[str] = []
    thread = threading.Thread(target=lambda: faults.append(find_fault()), daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    fault = faults[0] if faults else f"no answer within {TIMEOUT_S:g} s"
    if fault:
        raise ServiceError(
            f"tracking server {without_password(uri)}: {fault}; start it, correct --tracking-uri, "
            "or leave the flag out to record in the home folder"
        )


def _server_fault(uri: str) -> str:
    """Return a description of why an MLflow server cannot be used; "" if it answers."""
    request = urllib.request.Request(uri.rstrip("/") + "/health")  # noqa: S310 - http(s) only
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S / 2):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return ""  # the health page may require a login, for which MLflow sends credentials
        problem = "does not work" if error.code >= 500 else "is not one of MLflow's"
        return f"{problem} (GET /health: {error.code})"
    except urllib.error.URLError as error:
        return f"cannot be reached ({error.reason})"
    except (OSError, ValueError) as error:
        return f"cannot be reached ({error})"


def _port_fault(uri: str, default_port: int) -> str:
    """Return a description of why a database server cannot be reached; "" if its port is open."""
    try:
        parts = urllib.parse.urlsplit(uri)
        address = (parts.hostname or "localhost", parts.port or default_port)
        socket.create_connection(address, timeout=TIMEOUT_S / 2).close()
    except (OSError, ValueError) as error:
        return f"cannot be reached ({error})"
    return ""


def _sqlite_path(uri: str) -> Path | None:
    """Return the path of an SQLite store; None for another kind of store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _check_file(uri: str) -> None:
    """Check the file of an SQLite store.

    Raises:
        ServiceError: if the URI names no file.
        HomeError: if the folder is missing or not writable, or the file is damaged.
    """
    path = _sqlite_path(uri)
    if path is None or not path.name:
        raise ServiceError(f"tracking URI '{uri}': write sqlite:///PATH, the path with its file")
    if not path.parent.is_dir():
        raise HomeError(f"tracking URI '{uri}': there is no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise HomeError(f"tracking URI '{uri}': {path} is not writable; choose another --home")
    if path.exists():
        _check_database(path)


def _check_database(path: Path) -> None:
    """Raise `HomeError` if SQLite cannot read a file; MLflow would print a traceback."""
    try:
        with closing(sqlite3.connect(path, timeout=TIMEOUT_S)) as database:
            database.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        raise HomeError(f"MLflow store {path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise HomeError(
            f"MLflow store {path} is damaged ({error}): move it away, and `python -m orchestrator "
            "sync` writes it again from the recorded runs"
        ) from error
