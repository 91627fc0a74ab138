"""Access to MLflow stores: an MLflow server, a database, or the SQLite file of a home folder.

A store is checked before MLflow opens it, because MLflow retries a failing store for minutes.
MLflow is imported inside functions because the import takes two seconds.
"""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sqlite3
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.databases import create_database, database_path, database_url
from trainables.errors import HomeError, NalError, ServiceError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn

    from mlflow import MlflowClient
    from mlflow.entities import Run

TIMEOUT_S = 8.0
"""Longest time to wait for the answer of a server, including name resolution, in seconds."""

ARTIFACT_FOLDER = "artifacts"
"""Name of the folder, beside an SQLite file, that holds the artifacts of its runs."""

DAMAGE_ADVICE = (
    "run `python -m orchestrator sync`, which keeps the file under another name and writes the "
    "store anew"
)
"""What to do if a part of an SQLite file turns out to be damaged."""

MLFLOW_TABLES = frozenset(
    ("experiments", "experiment_tags", "runs", "metrics", "latest_metrics", "params", "tags")
)
"""Tables that every version of MLflow's database has."""

_RUNS_PER_PAGE = 1000
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_URI_ADVICE = "use http(s)://HOST:PORT of an MLflow server, or sqlite:///PATH"


def home_database(home: Path) -> Path:
    """Return the path of the SQLite file of the MLflow store in a home folder."""
    return home / "mlflow.db"


def home_store_uri(home: Path) -> str:
    """Return the URI of the MLflow store in a home folder."""
    return database_url(home_database(home))


def local_artifact_folder(uri: str) -> Path | None:
    """Return the folder that an address of artifacts names; None if it is not on this machine."""
    address = urllib.parse.urlsplit(uri)
    return Path(urllib.request.url2pathname(address.path)) if address.scheme == "file" else None


def other_artifact_roots(database: sqlite3.Connection, artifact_dir: Path) -> set[str]:
    """Return the URIs of the folders `artifacts` of other homes in which experiments are stored.

    There are some if the home folder was copied or moved.

    Args:
        database: connection to MLflow's database in a home folder.
        artifact_dir: folder for artifacts in the same home folder.
    """
    roots = set()
    rows = database.execute("SELECT experiment_id, name, artifact_location FROM experiments")
    for experiment_id, name, location in rows:
        path = local_artifact_folder(location)
        if path is None or path.name not in (name, str(experiment_id)):
            continue
        root = path.parent
        is_of_home = root == artifact_dir or _is_same_folder(root, artifact_dir)
        if root.name == ARTIFACT_FOLDER and not is_of_home:
            roots.add(location.rpartition("/")[0])
    return roots


def _is_same_folder(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)


def find_home_store(home: Path) -> str:
    """Return the URI of the MLflow store in a home folder, which is read as it is.

    Raises:
        HomeError: if nothing is recorded in the home folder, its store cannot be used, or the home
            folder was copied or moved and the store still names its old place.
    """
    path = home_database(home)
    if not path.exists() or path.stat().st_size == 0:
        raise HomeError(
            f"no run is recorded in the home folder {home}: run `python -m orchestrator sweep "
            "STUDY` first, or name another folder"
        )
    check_store(home_store_uri(home))
    try:
        with closing(sqlite3.connect(path, timeout=TIMEOUT_S)) as database:
            other_roots = other_artifact_roots(database, home / ARTIFACT_FOLDER)
    except sqlite3.Error as error:
        raise HomeError(f"MLflow store {path} cannot be used: {error}") from error
    if other_roots:
        raise HomeError(
            f"the home folder {home} was copied or moved, and its MLflow store still names the old "
            f"place: run `python -m orchestrator sync --home {shlex.quote(str(home))}` first"
        )
    return home_store_uri(home)


def run_page_url(uri: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page on an MLflow server, without credentials.

    Args:
        uri: URI of the MLflow store.
        experiment_id: MLflow's ID of the run's experiment.
        run_id: MLflow's ID of the run.

    Returns:
        The address; "" for a store that is a file or a database, which may be served anywhere.
    """
    server = urllib.parse.urlsplit(uri)
    if server.scheme not in ("http", "https"):
        return ""
    address = server._replace(netloc=server.netloc.rpartition("@")[2], query="", fragment="")
    return f"{address.geturl().rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def no_such_sweep(sweep: str, uri: str, labels: Iterable[str]) -> UserError:
    """Return the error for the name of a sweep that an MLflow store does not have.

    Args:
        sweep: name of a study, or beginning of a sweep's digest.
        uri: URI of the MLflow store.
        labels: study and digest of each recorded sweep, latest first.
    """
    return UserError(
        f"no study or sweep '{sweep}' is recorded in {mask_password(uri)}: choose one of these "
        f"sweeps, latest first: {', '.join(islice(labels, 10))}"
    )


def check_store(uri: str) -> None:
    """Check that an MLflow store can be used, within ten seconds and without importing MLflow.

    Raises:
        ServiceError: if the server does not answer, or the scheme of the URI is not supported.
        HomeError: if the folder of an SQLite file is missing or not writable, or the file is
            damaged.
    """
    scheme = urllib.parse.urlsplit(uri).scheme.split("+")[0]
    if scheme in ("http", "https"):
        _check_server(uri, lambda: _find_server_fault(uri))
    elif scheme in _DATABASE_PORTS:
        _check_server(uri, lambda: _find_port_fault(uri, _DATABASE_PORTS[scheme]))
    elif scheme == "sqlite":
        _check_sqlite_file(uri)
    elif scheme in ("", "file"):
        raise ServiceError(
            f"tracking URI '{uri}': MLflow no longer stores runs in plain folders; {_URI_ADVICE}"
        )
    else:
        raise ServiceError(f"tracking URI '{uri}': unknown scheme '{scheme}'; {_URI_ADVICE}")


def open_store(uri: str) -> MlflowClient:
    """Open an MLflow store, creating its SQLite file if missing, and return a client for it.

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

    # `translate_store_errors` reports failures; these loggers would print a traceback as well.
    for logger_name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(logger_name).setLevel(logging.CRITICAL)
    database = database_path(uri)
    with translate_store_errors(uri):
        if database is not None:
            create_database(database, _create_sqlite_store)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        _remove_misnamed_folder(uri)
    return client


def _create_sqlite_store(path: Path) -> None:
    """Create an MLflow store whose first experiment has its artifacts beside the SQLite file."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    artifact_root = (path.parent / ARTIFACT_FOLDER).resolve().as_uri()
    store = SqlAlchemyStore(database_url(path), artifact_root)  # type: ignore[no-untyped-call]
    store.engine.dispose()
    _remove_misnamed_folder(database_url(path))


def _remove_misnamed_folder(uri: str) -> None:
    """Remove the empty folder that MLflow creates for a database in a folder with "%" in its path.

    MLflow creates the folder of an SQLite file without decoding its URI, beside the right one.
    """
    folder = Path(uri.removeprefix("sqlite:///")).parent
    with suppress(OSError):  # the folder is missing or not empty
        while uri.startswith("sqlite:///") and "%25" in str(folder):
            folder.rmdir()
            folder = folder.parent


def search_runs(client: MlflowClient, experiment_ids: list[str], query: str) -> Iterator[Run]:
    """Yield all MLflow runs that match a query, most recently started first.

    Args:
        client: client of the MLflow store.
        experiment_ids: IDs of the MLflow experiments to search.
        query: condition in MLflow's search syntax, such as "tags.`nal.kind` = 'run'".
    """
    page_token: str | None = None
    while True:
        page = client.search_runs(
            experiment_ids, query, max_results=_RUNS_PER_PAGE, page_token=page_token
        )
        yield from page
        page_token = page.token
        if not page_token:
            return


@contextmanager
def translate_store_errors(uri: str) -> Iterator[None]:
    """Convert errors of MLflow and its database into this project's errors, with one-line messages.

    Raises:
        HomeError: if MLflow failed on an SQLite file.
        ServiceError: if MLflow failed on any other store.
    """
    from mlflow.exceptions import MlflowException

    with translate_database_errors(uri):
        try:
            yield
        except MlflowException as error:
            _raise_store_error(uri, error)


@contextmanager
def translate_database_errors(uri: str) -> Iterator[None]:
    """Convert errors of a store's database as `translate_store_errors` does, without MLflow.

    Raises:
        HomeError: if an SQLite file failed.
        ServiceError: if any other store failed.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except NalError:
        raise
    except (SQLAlchemyError, ImportError, OSError) as error:  # ImportError: no driver
        _raise_store_error(uri, error)


def _raise_store_error(uri: str, error: Exception) -> NoReturn:
    error_class = HomeError if database_path(uri) else ServiceError
    cause = root_cause(error)
    advice = f": {DAMAGE_ADVICE}" if "malformed" in cause else ""
    raise error_class(f"MLflow store {mask_password(uri)} failed: {cause}{advice}") from error


def root_cause(error: BaseException) -> str:
    """Return the message of an error's root cause, for example "database or disk is full".

    Only the first line is returned, cut to 300 characters.
    """
    cause = error
    while deeper_cause := getattr(cause, "orig", None) or cause.__cause__:
        cause = deeper_cause
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]


def has_password(uri: str) -> bool:
    """Return whether a URI contains a password, in the authority or as a parameter."""
    parts = urllib.parse.urlsplit(uri)
    names = {name.lower() for name in urllib.parse.parse_qs(parts.query)}
    return parts.password is not None or "password" in names


def mask_password(uri: str) -> str:
    """Return a URI in which the password, if any, is replaced by ***."""
    password = urllib.parse.urlsplit(uri).password
    return uri if password is None else uri.replace(f":{password}@", ":***@", 1)


def _check_server(uri: str, find_fault: Callable[[], str]) -> None:
    """Raise `ServiceError` if a server cannot be used or does not answer in time.

    Args:
        uri: URI of the store, for messages.
        find_fault: function that returns why the server cannot be used, or "" if it can. It runs
            in a thread that is abandoned after the timeout, because name resolution has none.
    """
    faults: list[str] = []
    thread = threading.Thread(target=lambda: faults.append(find_fault()), daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    fault = faults[0] if faults else f"did not answer within {TIMEOUT_S:g} s"
    if fault:
        raise ServiceError(
            f"tracking server {mask_password(uri)} {fault}: start it, or name another store",
            "--tracking-uri names the store; without this flag it is in the home folder",
        )


def _find_server_fault(uri: str) -> str:
    """Return why an MLflow server cannot be used, such as "cannot be reached"; "" if it can."""
    request = urllib.request.Request(uri.rstrip("/") + "/health")  # noqa: S310 - http(s) only
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S / 2):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return ""  # the health page may require a login, for which MLflow sends credentials
        problem = "does not work" if error.code >= 500 else "is not an MLflow server"
        return f"{problem} (GET /health: {error.code})"
    except urllib.error.URLError as error:
        return f"cannot be reached ({error.reason})"
    except (OSError, ValueError) as error:
        return f"cannot be reached ({error})"


def _find_port_fault(uri: str, default_port: int) -> str:
    """Return why the port or socket of a database server cannot be reached; "" if it can."""
    try:
        split_uri = urllib.parse.urlsplit(uri)
        (host,) = urllib.parse.parse_qs(split_uri.query).get("host", [""])
        if host.startswith("/"):  # folder of PostgreSQL's socket, which is a file
            path = Path(host, f".s.PGSQL.{split_uri.port or default_port}")
            return "" if path.is_socket() else f"cannot be reached ({path} is no socket)"
        address = (split_uri.hostname or "localhost", split_uri.port or default_port)
        socket.create_connection(address, timeout=TIMEOUT_S / 2).close()
    except (OSError, ValueError) as error:
        return f"cannot be reached ({error})"
    return ""


def _check_sqlite_file(uri: str) -> None:
    """Check that the SQLite file of a store can be opened or created.

    Raises:
        ServiceError: if the URI does not name a file.
        HomeError: if the folder is missing or not writable, or the file is damaged.
    """
    path = database_path(uri)
    if path is None or not path.name:
        raise ServiceError(f"tracking URI '{uri}': write sqlite:///PATH, where PATH is a file")
    if not path.parent.is_dir():
        raise HomeError(
            f"tracking URI '{uri}': folder {path.parent} does not exist; create it first"
        )
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise HomeError(
            f"tracking URI '{uri}': {path} is not writable: name another folder",
            "--home names the folder",
        )
    if path.exists() and (damage := find_damage(path)):
        raise HomeError(
            f"MLflow store {path} is damaged ({damage}): move the file away, then run `python -m "
            "orchestrator sync` to restore the store from the recorded runs"
        )


def find_damage(path: Path, *, reads_all_pages: bool = False) -> str:
    """Return why an SQLite file cannot be used as an MLflow store; "" if no damage is found.

    The file may be empty, or have the schema of another version of MLflow.

    Args:
        path: path of an existing file.
        reads_all_pages: whether to read the whole file, which takes about a second for 1000 runs,
            instead of only the list of its tables.

    Raises:
        HomeError: if the file cannot be read for another reason, for example because a process has
            locked it.
    """
    try:
        with closing(sqlite3.connect(path, timeout=TIMEOUT_S)) as database:
            if damage := _find_missing_part(database):
                return damage
            fault = "ok"
            if reads_all_pages:
                (fault,) = database.execute("PRAGMA quick_check(1)").fetchone()
            return "" if fault == "ok" else " ".join(fault.split())
    except sqlite3.OperationalError as error:
        raise HomeError(f"MLflow store {path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        return str(error)


def _find_missing_part(database: sqlite3.Connection) -> str:
    """Return what a database with some of MLflow's tables lacks; "" if nothing, or it has none."""
    tables = {
        name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    interruption = "a process was killed while it created the tables"
    if any(name.startswith("_alembic_tmp_") for name in tables):
        return interruption
    if not MLFLOW_TABLES & tables:
        return ""
    if "alembic_version" not in tables:
        return interruption
    if missing_tables := MLFLOW_TABLES - tables:
        return f"it lacks the table '{min(missing_tables)}'"
    # MLflow creates the default experiment last.
    is_complete = database.execute("SELECT 1 FROM experiments").fetchone() is not None
    return "" if is_complete else interruption
