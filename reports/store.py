"""Access to MLflow stores: an MLflow server, a database, or the SQLite file of a home folder.

A store is checked before MLflow opens it, because MLflow retries a failing store for minutes.
MLflow is imported inside functions because the import takes two seconds.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import re
import shlex
import sqlite3
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reports.words import shortened_list
from trainables.databases import create_database, database_path, database_url
from trainables.errors import HomeError, NalError, ServiceError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn

    from mlflow import MlflowClient
    from mlflow.entities import Run

TIMEOUT_S = 8.0
"""Longest time to wait for the answer of a server, including name resolution, in seconds."""

MAX_LOST_ANSWERS = 2
"""Largest number of answers that may be lost, one after the other, when a server is checked."""

ARTIFACT_FOLDER = "artifacts"
"""Name of the folder, beside an SQLite file, that holds the artifacts of its runs."""

DAMAGE_ADVICE = (
    "run `python -m orchestrator sync`, which keeps the file under another name and writes the "
    "store anew"
)
"""What to do if a part of an SQLite file turns out to be damaged."""

FULL_DISK_ADVICE = (
    "free space, then type the same command again, which trains no recorded run again"
)
"""What to do if the disk of an SQLite file is full."""

MLFLOW_TABLES = frozenset(
    ("experiments", "experiment_tags", "runs", "metrics", "latest_metrics", "params", "tags")
)
"""Tables that every version of MLflow's database has."""

MASK = "***"
"""Text in place of a password that is not shown."""

HTTP_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
"""MLflow's variables for requests to a server, where the user has not set them.

By default, MLflow repeats a request for four minutes before it reports that a server is away.
"""

_RUNS_PER_PAGE = 1000
_DATABASE_SCHEMES = ("postgresql", "mysql", "mssql")
_URI_ADVICE = "use http(s)://HOST:PORT of an MLflow server, or sqlite:///PATH"
_START_ADVICE = "start it, or name another store"
_LOGIN_ADVICE = (
    "write USER:PASSWORD@ before the host, special characters as %XX, or set "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
)
_DRIVER_ADVICE = (
    "install this driver (for PostgreSQL: pip install psycopg2-binary), or name another"
)
_PROBE_PATH = "/api/2.0/mlflow/experiments/search"
_PASSWORD = re.compile(r"(://[^\s/?#:]*):(\S*)@")
_TOKEN = re.compile(r"(https?://)[^\s:]+@")
_SECRET_OPTION = re.compile(
    r"([?&][^=&\s]*(?:pass|pwd|token|secret|odbc_connect)[^=&\s]*=)[^&\s]*", re.IGNORECASE
)


class StoreUnavailableError(ServiceError):
    """An MLflow store does not answer, or has failed in a way that may pass.

    Attributes:
        reason: short cause, such as "Connection refused".
    """

    def __init__(self, message: str, reason: str, flag_advice: str = "") -> None:
        super().__init__(message, flag_advice)
        self.reason = reason


class _Fault(NamedTuple):
    """Why a server cannot be used, and what the user can do."""

    text: str
    advice: str = _START_ADVICE


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
        f"sweeps, latest first: {shortened_list(list(labels), 10)}"
    )


def check_store(uri: str) -> None:
    """Check that an MLflow store can be used, within ten seconds and without importing MLflow.

    Raises:
        StoreUnavailableError: if the server does not answer, refuses the login, or is not an MLflow
            server; or a process has locked the SQLite file.
        ServiceError: if the URI is malformed, or its scheme is not supported.
        HomeError: if the folder of an SQLite file is missing or not writable, or the file is
            damaged.
    """
    scheme = check_uri(uri)
    if scheme in ("http", "https"):
        _check_server(uri, lambda: _find_server_fault(uri))
    elif scheme in _DATABASE_SCHEMES:
        _check_server(uri, lambda: _find_database_fault(uri))
    else:
        _check_sqlite_file(uri)


def check_uri(uri: str) -> str:
    """Check the form of the URI of an MLflow store, and return its scheme without a driver.

    Raises:
        ServiceError: if the URI is malformed, or its scheme is not supported.
    """
    shown_uri = mask_password(uri)
    try:
        address = urllib.parse.urlsplit(uri)
    except ValueError as error:
        raise ServiceError(f"tracking URI '{shown_uri}': {error}; {_URI_ADVICE}") from error
    scheme = address.scheme.split("+")[0]
    if scheme in ("", "file"):
        raise ServiceError(
            f"tracking URI '{shown_uri}': MLflow no longer stores runs in plain folders; "
            f"{_URI_ADVICE}"
        )
    if scheme not in ("http", "https", "sqlite", *_DATABASE_SCHEMES):
        raise ServiceError(f"tracking URI '{shown_uri}': unknown scheme '{scheme}'; {_URI_ADVICE}")
    if scheme in ("http", "https") and (fault := _find_address_fault(address)):
        raise ServiceError(f"tracking URI '{shown_uri}': {fault}; {_URI_ADVICE}")
    if scheme in _DATABASE_SCHEMES and "://" not in uri:
        raise ServiceError(f"tracking URI '{shown_uri}': write {scheme}://USER@HOST/DATABASE")
    path = database_path(uri)
    if scheme == "sqlite" and (path is None or not path.name):
        raise ServiceError(
            f"tracking URI '{shown_uri}': write sqlite:///PATH, where PATH is a file"
        )
    return scheme


def _find_address_fault(address: urllib.parse.SplitResult) -> str:
    """Return what is wrong with the address of a server, without a part of it; "" for nothing."""
    try:
        _ = address.port
    except ValueError:  # its text may contain a part of a password
        return "the port is not a number up to 65535"
    return "" if address.hostname else "no host"


def open_store(uri: str) -> MlflowClient:
    """Open an MLflow store, creating its SQLite file if missing, and return a client for it.

    Raises:
        ServiceError: if the server does not answer, or is not an MLflow server.
        HomeError: if the SQLite file cannot be used.
    """
    check_store(uri)
    for name, value in HTTP_DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    from mlflow import MlflowClient

    # `translate_store_errors` reports failures; these loggers would print them as well.
    for logger_name in ("mlflow", "mlflow.store.db.utils", "alembic", "urllib3.connectionpool"):
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
        StoreUnavailableError: if MLflow failed on any other store, or a process has locked the
            SQLite file.
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
        StoreUnavailableError: if any other store failed, or a process has locked the SQLite file.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except NalError:
        raise
    except (SQLAlchemyError, ImportError, OSError) as error:  # ImportError: no driver
        _raise_store_error(uri, error)


def _raise_store_error(uri: str, error: Exception) -> NoReturn:
    cause = mask_password(root_cause(error))
    advice = ""
    if "malformed" in cause:
        advice = f": {DAMAGE_ADVICE}"
    elif "disk is full" in cause:
        advice = f": {FULL_DISK_ADVICE}"
    message = f"MLflow store {mask_password(uri)} failed: {cause}{advice}"
    if database_path(uri) is None or _is_locked(cause) or _was_deleted(cause):
        raise StoreUnavailableError(message, cause) from error
    raise HomeError(message) from error


def _is_locked(cause: str) -> bool:
    """Return whether SQLite has failed because another process has locked the file."""
    return "database is locked" in cause


def _was_deleted(cause: str) -> bool:
    """Return whether another command has deleted an MLflow run while it was written.

    Two homes that carry out the same sweep in one store replace each other's incomplete runs.
    """
    return "must be in the 'active' state" in cause


def root_cause(error: BaseException) -> str:
    """Return the message of an error's root cause, for example "database or disk is full".

    Only the first line is returned, cut to 300 characters.
    """
    cause = error
    while deeper_cause := getattr(cause, "orig", None) or _cause_of(cause):
        cause = deeper_cause
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]


def _cause_of(error: BaseException) -> BaseException | None:
    """Return the error that has led to another one, as a traceback would show it."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def has_unencoded_login(uri: str) -> bool:
    """Return whether the login in a URI of a server contains a character that must be written %XX.

    The end of such a login cannot be told from the host, so that an error might show a part of it.
    """
    login = re.search(r"://([^/?#:]*):(.*)@", uri, re.DOTALL)
    if uri.startswith("sqlite:") or login is None:
        return False
    user, password = login.groups()
    is_port = re.match(r"\d+[/?#]", password) is not None
    return not is_port and re.search(r"[\s/?#@]", user + password) is not None


def has_password(uri: str) -> bool:
    """Return whether a URI contains a password or token, which `mask_password` replaces."""
    return mask_password(uri) != uri


def mask_password(text: str) -> str:
    """Return a URI, or a text with URIs, in which each password or token is replaced by ***.

    A password in which "/" or "@" is not encoded is replaced too.
    """
    text = _PASSWORD.sub(rf"\1:{MASK}@", text)
    text = _TOKEN.sub(rf"\1{MASK}@", text)
    return _SECRET_OPTION.sub(rf"\1{MASK}", text)


def _check_server(uri: str, find_fault: Callable[[], _Fault | None]) -> None:
    """Raise `StoreUnavailableError` if a server cannot be used or does not answer in time.

    Args:
        uri: URI of the store, for messages.
        find_fault: function that returns why the server cannot be used, or None if it can. It runs
            in a thread that is abandoned after the timeout, because name resolution has none.
    """
    answers: list[_Fault | None] = []
    thread = threading.Thread(target=lambda: answers.append(find_fault()), daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    fault = answers[0] if answers else _Fault(f"did not answer within {TIMEOUT_S:g} s")
    if fault:
        text = mask_password(fault.text)
        for part in _password_parts(uri):
            text = text.replace(part, MASK)
        raise StoreUnavailableError(
            f"tracking server {mask_password(uri)} {text}: {fault.advice}",
            text,
            "--tracking-uri names the store; without this flag it is in the home folder",
        )


def _password_parts(uri: str) -> list[str]:
    """Return the parts of a password in a URI, one of which an error may name as a port.

    Parts of one or two characters are left out.
    """
    match = _PASSWORD.search(uri)
    parts = re.split(r"[/:@?#]", match[2]) if match else []
    return sorted((part for part in parts if len(part) > 2), key=len, reverse=True)


def _find_server_fault(uri: str) -> _Fault | None:
    """Return why an MLflow server cannot be used, such as "cannot be reached"; None if it can."""
    address = urllib.parse.urlsplit(uri)
    user_info, _, host = address.netloc.rpartition("@")
    url = address._replace(netloc=host, path=address.path.rstrip("/") + _PROBE_PATH, fragment="")
    headers = _login_header(user_info)
    probe = f"GET {_PROBE_PATH}"
    request = urllib.request.Request(  # noqa: S310 - http(s) only
        url._replace(query="max_results=1").geturl(), headers=headers
    )
    try:
        with _open_url(request) as answer:
            is_mlflow = isinstance(json.load(answer), dict)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            # Without a header, MLflow may log in by other means, such as a plug-in.
            text = f"refuses the login ({probe}: {error.code})"
            return _Fault(text, _LOGIN_ADVICE) if headers else None
        is_overloaded = error.code >= 500 or error.code == http.HTTPStatus.TOO_MANY_REQUESTS
        problem = "does not work" if is_overloaded else "is not an MLflow server"
        return _Fault(f"{problem} ({probe}: {error.code})")
    except urllib.error.URLError as error:
        return _Fault(f"cannot be reached ({error.reason})")
    except json.JSONDecodeError:
        is_mlflow = False
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _Fault(f"cannot be reached ({error})")
    return None if is_mlflow else _Fault(f"is not an MLflow server ({probe}: no JSON)")


def _open_url(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Send a request to a server, and send it again if the server closes the connection."""
    lost_count = 0
    while True:
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(  # noqa: S310
                request, timeout=TIMEOUT_S / 2
            )
        except ConnectionError:
            lost_count += 1
            if lost_count > MAX_LOST_ANSWERS:
                raise
        else:
            return answer


def _login_header(user_info: str) -> dict[str, str]:
    """Return the header by which MLflow's client logs in to a server; {} if it has no credentials.

    Args:
        user_info: user name and password of the address, percent-encoded; "" if it has none.
    """
    user, colon, password = map(urllib.parse.unquote, user_info.partition(":"))
    if not colon:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
        password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
        if not (user and password):
            return {"Authorization": f"Bearer {token}"} if token else {}
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def _find_database_fault(uri: str) -> _Fault | None:
    """Return why a database server cannot be used; None if it can."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    except ImportError as error:
        return _Fault(f"cannot be used ({error})", _DRIVER_ADVICE)
    except (SQLAlchemyError, OSError, ValueError) as error:
        return _Fault(f"cannot be used ({root_cause(error)})")
    return None


def _check_sqlite_file(uri: str) -> None:
    """Check that the SQLite file of a store can be opened or created.

    Raises:
        HomeError: if the folder is missing or not writable, or the file is damaged.
    """
    path = database_path(uri)
    if path is None:
        raise ValueError(f"not the URI of an SQLite file: {uri}")
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
        StoreUnavailableError: if another process has locked the file.
        HomeError: if the file cannot be read for another reason.
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
        message = f"MLflow store {path} cannot be opened: {error}"
        if _is_locked(str(error)):
            raise StoreUnavailableError(message, str(error)) from error
        raise HomeError(message) from error
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
