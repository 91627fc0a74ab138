"""The database in which Optuna stores searches: an SQLite file, or a PostgreSQL database.

A database that is locked or away while a sweep runs is waited for. The operations of a `Search` may
therefore be repeated, also after one that was carried out without an answer.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import SQLAlchemyError as DatabaseError
from sqlalchemy.pool import StaticPool

from reports.store import MLFLOW_TABLES, mask_password, root_cause
from trainables.databases import (
    POSTGRESQL_DRIVERS,
    create_database,
    database_path,
    database_url,
    with_installed_driver,
)
from trainables.errors import HomeError, ServiceError, UserError
from trainables.locks import lock_until_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

Result = TypeVar("Result")

CONNECT_SECONDS = 8
"""Longest time in which a database server may answer to a connection, in seconds."""
LOCK_SECONDS = 5
"""Time for which an operation waits for another process that has locked the database, in seconds,
before it fails and is repeated."""
RETRY_SECONDS = 1.0
"""Time between two attempts of an operation, in seconds."""
MAX_OUTAGE_SECONDS = 6 * 3600.0
"""Longest time for which a sweep waits for its database, in seconds."""

URL_ADVICE = "write postgresql://USER@HOST:PORT/DATABASE or sqlite:////PATH of a file"

_POSTGRESQL_ARGUMENTS = {
    "connect_timeout": CONNECT_SECONDS,
    # A server that vanishes without closing its connections is noticed within a minute.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
OWN_LOCK_SECONDS = 90.0
"""Longest time for which a server may hold the locks of a connection that was lost, in seconds."""

_SERVER_KEEPALIVES = {
    "tcp_keepalives_idle": 20,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
}


def check_search_storage(url: str) -> None:
    """Check that a database can store searches, before anything is measured or trained.

    Args:
        url: SQLAlchemy URL of the database.

    Raises:
        UserError: if the URL is invalid or names another kind of database.
        HomeError: if the folder of an SQLite file is missing or not writable, or the file is none.
        ServiceError: if a server does not answer, has no such database, or one with other tables.
    """
    path = database_path(url)
    if path is not None and not path.parent.is_dir():
        raise HomeError(f"--search-storage: folder {path.parent} does not exist: create it first")
    with translate_search_errors(url):
        engine = _create_engine(url)
        try:
            tables = set(sqlalchemy.inspect(engine).get_table_names())
        finally:
            engine.dispose()
    if tables & MLFLOW_TABLES:
        raise ServiceError(
            f"search storage {mask_password(url)} contains an MLflow store, whose tables would be "
            "mixed with those of Optuna: create another database for the searches"
        )
    _open(url).engine.dispose()


def check_search_url(url: str) -> None:
    """Check the form of the URL of a database of searches, without connecting to it.

    Raises:
        UserError: if the URL is invalid or names another kind of database.
    """
    _parse(url)


def open_search_storage(url: str) -> RDBStorage:
    """Open a database in which Optuna stores searches, or create its file and tables.

    Args:
        url: SQLAlchemy URL of the database.

    Raises:
        UserError: if the URL is invalid or names another kind of database.
        HomeError: if the file is no database, cannot be written, or was written by another version.
        ServiceError: if the server cannot be used.
    """
    path = database_path(url)
    if path is not None:
        create_database(
            path, lambda partial_path: _open(database_url(partial_path)).engine.dispose()
        )
    return _open(url)


def _open(url: str) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    # Optuna formats the URL, in which braces are thus doubled.
    address = _parse(url).render_as_string(hide_password=False)
    template = address.replace("{", "{{").replace("}", "}}")
    try:
        with translate_search_errors(url):
            storage = optuna.storages.RDBStorage(template, _engine_options(url))
    except ImportError:
        raise _missing_driver() from None
    except RuntimeError as error:  # the tables of another version of Optuna
        place = database_path(url) or mask_password(url)
        raise HomeError(
            f"search storage {place} was written by another version of Optuna "
            f"({root_cause(error)}): name another database, or use that version",
            "--search-storage names the database",
        ) from error
    if database_path(url) is None:
        sqlalchemy.event.listen(storage.engine, "connect", _limit_lock_time)
        storage.engine.dispose()
    return storage


def _create_engine(url: str) -> sqlalchemy.Engine:
    try:
        return sqlalchemy.create_engine(_parse(url), **_engine_options(url))
    except ImportError:
        raise _missing_driver() from None


def _missing_driver() -> ServiceError:
    return ServiceError(
        "--search-storage: no driver for PostgreSQL is installed: pip install psycopg2-binary"
    )


def _limit_lock_time(connection: Any, _record: object) -> None:  # noqa: ANN401 - of any driver
    """Let the statements of a new connection fail if another process has locked the tables."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    connection.commit()


def _parse(url: str) -> sqlalchemy.URL:
    """Return the parts of a URL, among them an installed driver.

    Raises:
        UserError: if the URL is invalid or names another kind of database. It may contain a
            password and is not repeated.
    """
    try:
        parts = sqlalchemy.make_url(with_installed_driver(url))
    except (ArgumentError, ValueError):
        raise UserError(f"--search-storage: not the URL of a database: {URL_ADVICE}") from None
    drivers = ("sqlite", *(f"postgresql+{name}" for name in POSTGRESQL_DRIVERS))
    if parts.drivername not in drivers:
        raise UserError(
            f"--search-storage: searches cannot be stored in '{parts.drivername}': {URL_ADVICE}"
        )
    if parts.get_backend_name() == "sqlite" and not parts.database:
        raise UserError(f"--search-storage: the URL names no file: {URL_ADVICE}")
    if "password" in parts.query:
        raise UserError(
            "--search-storage: a password among the parameters of the URL would be printed: write "
            "USER:PASSWORD@HOST, or store it in ~/.pgpass"
        )
    return parts


def _engine_options(url: str) -> dict[str, Any]:
    if database_path(url) is not None:
        return {"connect_args": {"timeout": LOCK_SECONDS}}
    return {"pool_pre_ping": True, "connect_args": dict(_POSTGRESQL_ARGUMENTS)}


@contextmanager
def translate_search_errors(url: str) -> Iterator[None]:
    """Turn errors of the database of searches into errors of one line.

    Args:
        url: URL of the database.

    Raises:
        HomeError: if an SQLite file is full, locked, damaged, not writable, or of another version.
        ServiceError: if a server does not answer, or refuses.
    """
    path = database_path(url)
    try:
        yield
    except (DatabaseError, StorageInternalError, sqlite3.Error) as error:
        cause = root_cause(error)
        if path is None:
            raise ServiceError(
                f"search storage {mask_password(url)}: {cause}: start the server or name another "
                "database, then type the same command again; recorded runs are not trained again",
                "--search-storage names the database",
            ) from error
        if is_outage(error):
            raise HomeError(
                f"{path}: {cause}: wait until the process that uses it has ended, then type the "
                "same command again"
            ) from error
        raise HomeError(
            f"{path}: {cause}: check that the disk has space; if the "
            "file is damaged, move it away. Then type the same command again: the search proposes "
            "the same values again, and recorded runs are not trained again"
        ) from error


def is_outage(error: BaseException) -> bool:
    """Return whether an error says that a database is locked by another process or away."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    origin = cause.orig if isinstance(cause, DBAPIError) else cause
    if isinstance(origin, sqlite3.Error):
        code = getattr(origin, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return isinstance(cause, DBAPIError) and (
        cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)
    )


def _ignore(_text: str) -> None:
    """Print nothing."""


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Repetition of operations on a database that is locked or away.

    Attributes:
        url: URL of the database.
        on_notice: function that receives lines for the user.
        prepare: function that is called before each attempt, and fails if the database is away.
        max_seconds: longest time to wait, in seconds.
    """

    url: str
    on_notice: Callable[[str], None] = _ignore
    prepare: Callable[[], None] = _nothing
    max_seconds: float = MAX_OUTAGE_SECONDS

    def repeat(self, operation: Callable[[], Result]) -> Result:
        """Carry out an operation, again if the database was locked or away, and return its result.

        Args:
            operation: function that uses the database. After a lost answer it is called again,
                although it has been carried out.

        Raises:
            SQLAlchemyError: if the database failed in another way, as does `StorageInternalError`.
            NalError: if the database cannot be used after `max_seconds`, or not any more.
        """
        start: float | None = None
        while True:
            attempt_time = time.monotonic()
            try:
                self.prepare()
                result = operation()
            except (DatabaseError, StorageInternalError) as error:
                if not is_outage(error):
                    raise
                if start is None:
                    start = attempt_time
                    self.on_notice(
                        f"the database of searches, {mask_password(self.url)}, cannot be used "
                        f"({root_cause(error)}): the sweep waits for it"
                    )
                if time.monotonic() - start > self.max_seconds:
                    with translate_search_errors(self.url):
                        raise
                time.sleep(RETRY_SECONDS)
            else:
                if start is not None:
                    seconds = time.monotonic() - start
                    self.on_notice(
                        f"the database of searches can be used again after {seconds:.0f} s: the "
                        "sweep continues"
                    )
                return result


NO_PATIENCE = Patience("", max_seconds=0.0)
"""Patience with a storage that no other process uses, such as a copy."""


@dataclass(slots=True)
class SearchLock:
    """Locks of searches: each is carried out by one sweep at a time, also from several homes.

    Attributes:
        url: URL of the database of the searches.
        digests: digests of the searches.
    """

    url: str
    digests: tuple[str, ...]
    _held: list[Any] = field(default_factory=list)

    def acquire(self) -> None:
        """Lock the searches, again if the connection to the server was lost.

        Raises:
            HomeError: if another sweep is carrying out one of the searches.
            SQLAlchemyError: if the server cannot be used.
        """
        path = database_path(self.url)
        if path is not None:
            if not self._held:
                self._held = [_lock_file(path, digest) for digest in self.digests]
            return
        self.release()
        engine = _create_engine(self.url)
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._held = [connection, engine]
        # The server releases the locks of a machine that has vanished within a minute.
        for name, value in _SERVER_KEEPALIVES.items():
            connection.exec_driver_sql(f"SET {name} = {value}")
        for digest in self.digests:
            key = int(digest[:15], 16)
            query = sqlalchemy.text("SELECT pg_try_advisory_lock(:key)")
            if not connection.execute(query, {"key": key}).scalar():
                raise _already_searched(self.url, digest, "")

    def ensure(self) -> None:
        """Lock the searches again if the connection that holds the locks was lost.

        The server may hold the locks of the lost connection for about a minute.

        Raises:
            HomeError: if another sweep is carrying out one of the searches by now.
            SQLAlchemyError: if the server cannot be used.
        """
        if database_path(self.url) is not None or not self._held:
            self.acquire()
        elif not self._has_connection():
            self._acquire_again()

    def _has_connection(self) -> bool:
        """Return whether the connection that holds the locks exists."""
        try:
            self._held[0].exec_driver_sql("SELECT 1")
        except DatabaseError:
            return False
        return True

    def _acquire_again(self) -> None:
        """Lock the searches when the server has released the locks of the lost connection."""
        deadline = time.monotonic() + OWN_LOCK_SECONDS
        while True:
            try:
                self.acquire()
            except HomeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_SECONDS)
            else:
                return

    def release(self) -> None:
        """Release the searches; the operating system or the server does so if a process dies."""
        for resource in self._held:
            with suppress(DatabaseError):
                (resource.dispose if isinstance(resource, sqlalchemy.Engine) else resource.close)()
        self._held = []


@contextmanager
def locked_searches(url: str, digests: Iterable[str]) -> Iterator[SearchLock]:
    """Lock searches for the duration of the context.

    Args:
        url: URL of the database.
        digests: digests of the searches.

    Raises:
        HomeError: if another sweep is carrying out one of the searches.
        ServiceError: if the server cannot be used.
    """
    lock = SearchLock(url, tuple(dict.fromkeys(digests)))
    try:
        with translate_search_errors(url):
            lock.acquire()
        yield lock
    finally:
        lock.release()


def _lock_file(database: Path, digest: str) -> Any:  # noqa: ANN401 - a file
    """Lock a file beside an SQLite database until the returned file is closed."""
    path = database.with_name(f"{database.name}.{digest[:12]}.lock")
    try:
        file = path.open("a+")
    except OSError as error:
        raise HomeError(f"cannot write {path}: {error.strerror}") from error
    try:
        lock_until_closed(file, patience_seconds=0, kind=fcntl.LOCK_EX)
    except TimeoutError:
        file.seek(0)
        holder = file.read()
        file.close()
        raise _already_searched(database_url(database), digest, holder) from None
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "host": os.uname().nodename}))
    file.flush()
    return file


def _already_searched(url: str, digest: str, holder_text: str) -> HomeError:
    holder = ""
    with suppress(ValueError, KeyError, TypeError):
        process = json.loads(holder_text)
        holder = f" (process {process['pid']} on {process['host']})"
    place = database_path(url) or mask_password(url)
    return HomeError(
        f"another sweep{holder} is carrying out search {digest[:12]} in {place}: wait until it has "
        "ended, stop it, or store the searches in another database"
    )


def copy_searches(url: str, digests: Iterable[str]) -> optuna.storages.InMemoryStorage:
    """Copy searches, so that they can be resumed without a change of the database.

    Args:
        url: URL of the database, which need not exist if it is a file.
        digests: digests of the searches to copy.

    Returns:
        A storage with copies of those of the searches that exist.

    Raises:
        HomeError: if the file is damaged or locked.
        ServiceError: if the server cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    copy = optuna.storages.InMemoryStorage()
    with translate_search_errors(url):
        storage = _open_to_read(url)
        if storage is not None:
            names = set(optuna.get_all_study_names(storage))
            for digest in sorted(names.intersection(digests)):
                optuna.copy_study(from_study_name=digest, from_storage=storage, to_storage=copy)
            storage.engine.dispose()
    return copy


def read_trials(url: str) -> list[FrozenTrial] | None:
    """Return the trials of all searches in a database; None if it has no searches.

    Args:
        url: URL of the database, which need not exist if it is a file.

    Raises:
        HomeError: if the file is damaged or locked.
        ServiceError: if the server cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    with translate_search_errors(url):
        storage = _open_to_read(url)
        if storage is None:
            return None
        trials = [
            trial
            for name in optuna.get_all_study_names(storage)
            for trial in optuna.load_study(study_name=name, storage=storage).get_trials(
                deepcopy=False
            )
        ]
        storage.engine.dispose()
    return trials


def _open_to_read(url: str) -> RDBStorage | None:
    """Open a database of searches, or a copy of its file; None if it has no searches."""
    path = database_path(url)
    if path is None:
        engine = _create_engine(url)
        has_searches = sqlalchemy.inspect(engine).has_table("studies")
        engine.dispose()
        return _open(url) if has_searches else None
    if not path.exists() or path.stat().st_size == 0:
        return None
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    _copy_database(path, memory)
    return optuna.storages.RDBStorage(
        "sqlite://", {"creator": lambda: memory, "poolclass": StaticPool}
    )


def _copy_database(path: Path, target: sqlite3.Connection) -> None:
    """Copy an SQLite database, which another process may be writing, without changing it.

    A process that was killed in a transaction leaves a journal, by which the next writer undoes the
    transaction. It is undone in a copy of the files.
    """
    address = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, LOCK_SECONDS, uri=True)) as source:
            source.execute("SELECT name FROM sqlite_master")  # a backup would wait for ever
            source.backup(target)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        with tempfile.TemporaryDirectory() as folder:
            copy_path = Path(folder, path.name)
            for suffix in ("", "-journal"):
                shutil.copyfile(f"{path}{suffix}", f"{copy_path}{suffix}")
            with closing(sqlite3.connect(copy_path)) as source:
                source.backup(target)
