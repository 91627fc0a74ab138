from __future__ import annotations

import base64
import http.server
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from mlflow.exceptions import MlflowException
from stores import fresh_store

from reports import store
from reports.store import (
    MLFLOW_TABLES,
    StoreUnavailableError,
    check_store,
    find_damage,
    home_store_uri,
    mask_password,
    open_store,
    run_page_url,
    translate_store_errors,
)
from trainables.errors import HomeError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROBE = "/api/2.0/mlflow/experiments/search"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, int]]]:
    """Address of a server, and the status codes with which it answers by path; 404 by default.

    It requires the password "p@ss/wörd" of the user "me", if it gets any login.
    """
    answers: dict[str, int] = {}
    login = base64.b64encode("me:p@ss/wörd".encode()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_refused = self.headers.get("Authorization") not in (None, f"Basic {login}")
            code = answers.get(self.path.partition("?")[0], 404)
            self.send_response(401 if is_refused else code)
            self.end_headers()
            self.wfile.write(b"{}" if code != 201 else b"<html></html>")

        def log_message(self, *_: object) -> None:
            return

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", answers
        httpd.shutdown()


@pytest.mark.parametrize("answer", [200, 401, 403])
def test_a_server_that_answers_is_accepted(server: tuple[str, dict[str, int]], answer: int) -> None:
    uri, answers = server
    answers[PROBE] = answer
    check_store(uri)
    answers[f"/mlflow{PROBE}"] = answer
    check_store(uri + "/mlflow/")


def test_a_login_may_be_in_the_address_or_in_variables_of_mlflow(
    server: tuple[str, dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, answers = server
    answers[PROBE] = 200
    host = uri.removeprefix("http://")
    check_store(f"http://me:p%40ss%2Fw%C3%B6rd@{host}")
    for password in ("wrong", "p%40ss"):
        with pytest.raises(ServiceError) as error:
            check_store(f"http://me:{password}@{host}")
        assert str(error.value).startswith(
            f"tracking server http://me:***@{host} refuses the login (GET {PROBE}: 401): write "
        )
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p@ss/wörd")
    check_store(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(ServiceError, match="refuses the login"):
        check_store(uri)
    check_store(f"http://me:p%40ss%2Fw%C3%B6rd@{host}")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://[::1", "Invalid IPv6 URL; use http(s)://HOST:PORT of an MLflow server, or"),
        ("http://me:secret@[::1", "Invalid IPv6 URL; use"),
        ("http://", "no host; use http(s)://HOST:PORT"),
        ("http://127.0.0.1:99999", "the port is not a number up to 65535; use"),
        ("http://me:secret@127.0.0.1:port", "the port is not a number up to 65535; use"),
        ("http://me:sec/ret@127.0.0.1", "the port is not a number up to 65535; use"),
        ("postgresql://me:secret@127.0.0.1:port/nal", "cannot be used ("),
        ("postgresql://me:se/cret@[::1/nal", "cannot be used ("),
        ("postgresql+none://me:secret@127.0.0.1/nal", "cannot be used ("),
        ("postgresql:db", "write postgresql://USER@HOST/DATABASE"),
        ("ftp://me:secret@host/x", "unknown scheme 'ftp'; use"),
        ("sqlite://me:secret@host/", "write sqlite:///PATH"),
    ],
)
def test_malformed_addresses_are_one_line_without_the_password(uri: str, message: str) -> None:
    with pytest.raises(ServiceError) as error:
        check_store(uri)
    text = str(error.value)
    assert message in text
    assert "\n" not in text
    assert "secret" not in text
    assert "ret@" not in text


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="cannot be opened: unable to open database file"):
        check_store(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (404, "is not an MLflow server"),
        (503, "does not work"),
        (429, "does not work"),
        (201, "is not an MLflow server"),
    ],
)
def test_another_server_is_refused(
    server: tuple[str, dict[str, int]], answer: int, message: str
) -> None:
    uri, answers = server
    answers[PROBE] = answer
    shown_answer = "no JSON" if answer == 201 else answer
    line = rf"{message} \(GET {PROBE}: {shown_answer}\): start"
    with pytest.raises(ServiceError, match=line) as error:
        check_store(uri)
    assert "--tracking-uri" in error.value.flag_advice
    assert "--" not in str(error.value)


def test_a_silent_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(store, "TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ServiceError, match=r"tracking server .*(timed out|did not answer)"):
            check_store(f"http://127.0.0.1:{port}")


def test_a_resolver_that_never_answers_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()
    monkeypatch.setattr(store, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(store, "_find_server_fault", lambda _: forever.wait() and None)
    with pytest.raises(ServiceError, match=r"did not answer within 0\.2 s"):
        check_store("http://somewhere")
    forever.set()


def test_a_closed_database_port_is_named_without_the_password() -> None:
    with pytest.raises(
        ServiceError, match=r"://me:\*\*\*@127\.0\.0\.1:1/nal cannot be used \(conn"
    ):
        check_store("postgresql+psycopg2://me:secret@127.0.0.1:1/nal")


def test_a_database_may_have_a_socket_instead_of_a_port(tmp_path: Path) -> None:
    uri = f"postgresql+psycopg2://user@/database?host={tmp_path}"
    with pytest.raises(ServiceError, match=r"PGSQL\.5432\" failed: No such file"):
        check_store(uri)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "mlruns"])
def test_plain_folders_are_refused(uri: str) -> None:
    with pytest.raises(ServiceError, match=r"no longer stores runs in plain folders; use http"):
        check_store(uri)


def test_other_kinds_are_refused() -> None:
    with pytest.raises(ServiceError, match="unknown scheme 'ftp'; use http"):
        check_store("ftp://host/x")
    with pytest.raises(ServiceError, match="write sqlite:///PATH"):
        check_store("sqlite:///")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=f"folder {tmp_path / 'none'} does not exist"):
        check_store(f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}")


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(HomeError, match="file is not a database") as caught:
        open_store(uri)
    assert "\n" not in str(caught.value)
    assert "sync` to restore the store" in str(caught.value)


def test_damage_that_a_query_finds_names_the_command_that_mends_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with (
        pytest.raises(HomeError, match=r"malformed: run `python -m orchestrator sync`"),
        translate_store_errors(uri),
    ):
        raise OSError("database disk image is malformed")


def test_an_unwritable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = fresh_store(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, _: str(path).endswith(tmp_path.name))
    with pytest.raises(HomeError, match=r"mlflow\.db is not writable: name another") as error:
        check_store(uri)
    assert "--home" in error.value.flag_advice
    assert "--" not in str(error.value)


@pytest.mark.slow
def test_two_processes_may_create_one_store(tmp_path: Path) -> None:
    code = (
        f"from reports.store import open_store; open_store({f'sqlite:///{tmp_path}/mlflow.db'!r})"
    )
    command = [sys.executable, "-c", code]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outcomes = [(*process.communicate(), process.returncode) for process in both]
    assert outcomes == [("", "", 0)] * 2


def test_a_password_is_never_shown() -> None:
    assert mask_password("http://me:secret@host:5000") == "http://me:***@host:5000"
    assert mask_password("sqlite:////tmp/a.db") == "sqlite:////tmp/a.db"
    for uri in ("http://host:5000/a", "postgresql://me@host/nal?host=/tmp/x", "https://[::1]:5000"):
        assert mask_password(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:{}@host:5000",
        "postgresql+psycopg2://me:{}@host/nal?sslmode=require",
        "postgresql://:{}@[::1]:5432/nal",
        "postgresql://host/nal?user=me&password={}&sslmode=require",
        "mssql+pyodbc:///?odbc_connect={}",
        "https://{}@host/ml",
        "http://me@corp.com:{}@host:5000",
        "postgresql://me@corp:{}@host/nal",
        "API request to http://me:{}@host:5000/api/2.0/runs/create failed with 'refused'",
    ],
)
@pytest.mark.parametrize("password", ["secret", "s%40cr%2Fet", "se@cret", "se:cr%25et"])
def test_no_form_of_an_address_shows_its_password(uri: str, password: str) -> None:
    text = mask_password(uri.format(password))
    assert text == mask_password(text)
    assert "***" in text
    assert "et" not in text.split("***")[0].replace("request", "")
    assert not set(password.split("@")) & set(re.split(r"[@:/=&\s]", text))


def test_a_password_with_a_slash_that_is_not_encoded_is_not_shown() -> None:
    assert mask_password("postgresql://me:se/cr@et@host/x") == "postgresql://me:***@host/x"


def test_a_part_of_a_password_is_not_shown_as_a_port() -> None:
    with pytest.raises(ServiceError) as caught:
        check_store("http://me:sec/ret@127.0.0.1:1")
    assert "sec" not in str(caught.value)
    assert "ret" not in str(caught.value)


def test_errors_of_mlflow_do_not_show_the_password() -> None:
    uri = "http://me:secret@host:5000"
    with (
        pytest.raises(StoreUnavailableError) as error,
        translate_store_errors(uri),
    ):
        raise MlflowException(f"API request to {uri}/api failed")
    assert str(error.value) == (
        "MLflow store http://me:***@host:5000 failed: API request to http://me:***@host:5000/api "
        "failed"
    )
    assert error.value.reason == "API request to http://me:***@host:5000/api failed"


def test_a_home_has_a_store_of_its_own(tmp_path: Path) -> None:
    assert home_store_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_half_created_store_is_refused(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    check_store(uri)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("CREATE TABLE _alembic_tmp_experiments (x)")
    with pytest.raises(HomeError, match=r"is damaged \(a process was killed while it created"):
        check_store(uri)


def test_a_locked_store_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TIMEOUT_S", 0.1)
    fresh_store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match=r"cannot be opened: database is locked"):
            find_damage(tmp_path / "mlflow.db")


def test_a_locked_store_may_be_unlocked_again(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with (
        pytest.raises(StoreUnavailableError, match="is locked"),
        translate_store_errors(uri),
    ):
        raise OSError("database is locked")
    with pytest.raises(HomeError, match="disk is full"), translate_store_errors(uri):
        raise OSError("database or disk is full")


def test_a_store_of_another_version_of_mlflow_is_no_damage(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    assert find_damage(tmp_path / "mlflow.db") == ""
    with pytest.raises(HomeError, match=r"^MLflow store .* failed: .*out-of-date database schema"):
        open_store(uri)


@pytest.mark.slow
@pytest.mark.parametrize("delay_seconds", [0.0, 1.0, 3.0, 6.0])
def test_a_store_is_complete_although_its_creation_was_killed(
    tmp_path: Path, delay_seconds: float
) -> None:
    database = tmp_path / "mlflow.db"
    code = f"from reports.store import open_store; open_store({f'sqlite:///{database}'!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    while process.poll() is None and not any(tmp_path.glob("*mlflow.db*[!k]")):
        time.sleep(0.01)
    time.sleep(delay_seconds)
    process.kill()
    process.wait()
    assert not database.exists() or find_damage(database, reads_all_pages=True) == ""
    client = open_store(f"sqlite:///{database}")
    (experiment,) = client.search_experiments()
    assert experiment.artifact_location == f"{(tmp_path / 'artifacts').as_uri()}/0"
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("http://tracking:5000", "http://tracking:5000/#/experiments/3/runs/ab"),
        ("https://me:secret@tracking/ml/", "https://tracking/ml/#/experiments/3/runs/ab"),
        ("sqlite:////home/me/mlflow.db", ""),
        ("postgresql://me:secret@tracking/runs", ""),
    ],
)
def test_pages_of_runs_are_on_servers_only_and_without_credentials(uri: str, url: str) -> None:
    assert run_page_url(uri, "3", "ab") == url


def test_a_store_without_one_of_its_tables_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    tables = sorted(MLFLOW_TABLES | {"alembic_version"})
    with closing(sqlite3.connect(path)) as database, database:
        for table in tables:
            database.execute(f"CREATE TABLE {table} (id)")
        database.execute("INSERT INTO experiments VALUES (0)")
    assert find_damage(path) == ""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE params")
    assert find_damage(path) == "it lacks the table 'params'"
