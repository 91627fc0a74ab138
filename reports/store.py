"""Opening an MLflow store: checked before MLflow, whose own retries take minutes, is asked.

Nothing here imports MLflow at module level: it costs two seconds, which whoever opens a store in
a thread of its own does not wait for.
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

PATIENCE_S = 8.0
"""How long a server may take to answer, name resolution included."""

_PAGE = 1000
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_ALLOWED = "use http(s)://HOST:PORT of an MLflow server, or sqlite:///PATH"


def home_store(home: Path) -> str:
    """Return the URI of a home's own store."""
    return f"sqlite:///{home / 'mlflow.db'}"


def existing_store(home: Path) -> str:
    """Return the URI of a home's own store, which must be there.

    Raises:
        HomeError: it is not, or it cannot be read.
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
    """See whether a store can be there at all, within ten seconds and without importing MLflow.

    Raises:
        ServiceError: no server answers, or the URI is of a kind that is not supported.
        HomeError: the folder of an SQLite file is missing or not writable, or the file is damaged.
    """
    scheme = urllib.parse.urlsplit(uri).scheme.split("+")[0]
    if scheme in ("http", "https"):
        _within_patience(uri, lambda: _ask_health(uri))
    elif scheme in _PORTS:
        _within_patience(uri, lambda: _connect(uri, _PORTS[scheme]))
    elif scheme == "sqlite":
        _check_file(uri)
    elif scheme in ("", "file"):
        raise ServiceError(
            f"tracking URI '{uri}': MLflow no longer keeps runs in plain folders; {_ALLOWED}"
        )
    else:
        raise ServiceError(f"tracking URI '{uri}': unknown kind '{scheme}'; {_ALLOWED}")


def open_store(uri: str) -> MlflowClient:
    """Check a store, import MLflow quietly and return a client; an SQLite file is made if missing.

    Raises:
        ServiceError: the server does not answer, or is not one of MLflow's.
        HomeError: the SQLite file cannot be used.
    """
    check_store(uri)
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    from mlflow import MlflowClient

    # Whatever fails is said once, by `explained`, and not with a traceback before it.
    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    path = _sqlite_path(uri)
    # Two processes that create one SQLite database at once crash each other.
    with locked(path.with_name(path.name + ".lock")) if path else nullcontext(), explained(uri):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def search_runs(client: MlflowClient, experiments: list[str], query: str) -> Iterator[Run]:
    """Yield the runs of some experiments that a query is true of, the latest first."""
    token: str | None = None
    while True:
        page = client.search_runs(experiments, query, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn whatever a store raises into one line.

    Raises:
        HomeError: of an SQLite store.
        ServiceError: of any other.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except NalError:
        raise
    except (MlflowException, SQLAlchemyError, OSError) as error:
        kind = HomeError if _sqlite_path(uri) else ServiceError
        raise kind(f"MLflow store {shown(uri)} failed: {first_cause(error)}") from error


def first_cause(error: BaseException) -> str:
    """Return the first line of what a chain of errors began with: "database or disk is full"."""
    cause = error
    while deeper := getattr(cause, "orig", None) or cause.__cause__:
        cause = deeper
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]


def shown(uri: str) -> str:
    """Return a URI without the password it may hold."""
    password = urllib.parse.urlsplit(uri).password
    return uri if password is None else uri.replace(f":{password}@", ":***@", 1)


def _within_patience(uri: str, ask: Callable[[], str]) -> None:
    """Ask in a thread that is left behind if it does not come back: resolvers know no timeout."""
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    fault = answers[0] if answers else f"no answer within {PATIENCE_S:g} s"
    if fault:
        raise ServiceError(
            f"tracking server {shown(uri)}: {fault}; start it, correct --tracking-uri, "
            "or leave the flag out to record under the home"
        )


def _ask_health(uri: str) -> str:
    """Return what is wrong with an MLflow server; "" if it answers."""
    request = urllib.request.Request(uri.rstrip("/") + "/health")  # noqa: S310 - http(s) only
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S / 2):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return ""  # behind a login the health page may be closed; MLflow sends credentials
        what = "does not work" if error.code >= 500 else "is not one of MLflow's"
        return f"{what} (GET /health: {error.code})"
    except urllib.error.URLError as error:
        return f"cannot be reached ({error.reason})"
    except (OSError, ValueError) as error:
        return f"cannot be reached ({error})"


def _connect(uri: str, usual_port: int) -> str:
    """Return what is wrong with a database server's port; "" if it is open."""
    try:
        parts = urllib.parse.urlsplit(uri)
        address = (parts.hostname or "localhost", parts.port or usual_port)
        socket.create_connection(address, timeout=PATIENCE_S / 2).close()
    except (OSError, ValueError) as error:
        return f"cannot be reached ({error})"
    return ""


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _check_file(uri: str) -> None:
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
    """See that SQLite can read a file's tables: MLflow's pages would print a traceback."""
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE_S)) as database:
            database.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        raise HomeError(f"MLflow store {path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise HomeError(
            f"MLflow store {path} is damaged ({error}): move it away, and `python -m orchestrator "
            "sync` writes it again from the recorded runs"
        ) from error
