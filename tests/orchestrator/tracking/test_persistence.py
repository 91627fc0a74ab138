"""Sweeps and `sync` with a real MLflow server behind a network that fails."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from command_line import call_command, results
from fake_runs import attempts
from faulty_proxy import FaultyProxy, mlflow_server
from stored_sweeps import FakeSweep, content, runs_of, spoil
from waiting import wait_until

from orchestrator.tracking import background, persistence
from orchestrator.tracking.tracker import Tracker
from reports.store import home_store_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as uri:
        yield uri


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(persistence, "FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(persistence, "MAX_PAUSE_SECONDS", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    proxy = FaultyProxy(server)
    yield proxy
    proxy.stop()


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    """Function that returns the content of a store that never failed, by the name of the study."""
    folder = tmp_path_factory.mktemp("clean")

    def content_of(name: str) -> list[Any]:
        home = folder / name
        FakeSweep(home, name).carry_out(home_store_uri(home))
        return content(home_store_uri(home), name)

    return content_of


def test_everything_arrives_after_an_outage(
    tmp_path: Path, proxy: FaultyProxy, server: str, clean: Callable[[str], list[Any]]
) -> None:
    sweep = FakeSweep(tmp_path, "outage")

    def fail(count: int) -> None:
        if count == 2:
            proxy.stop()
        elif count == 5:
            wait_until(lambda: any("cannot be written (" in line for line in sweep.notices))
            proxy.fail_by(lambda *_: "500")
            proxy.start()
        elif count == 6:
            proxy.delay_seconds = 0.02
            proxy.fail_by(lambda number, _: "500" if number < 8 else "delay")

    sweep.carry_out(proxy.uri, fail)
    assert proxy.counts["500"] == 7
    assert proxy.counts["delay"] > 50
    assert "training goes on, " in sweep.notices[0]
    assert f"MLflow at {proxy.uri} works again: " in sweep.notices[-1]
    assert content(server, "outage") == clean("outage")


def test_lost_answers_double_nothing(
    tmp_path: Path, proxy: FaultyProxy, server: str, clean: Callable[[str], list[Any]]
) -> None:
    sweep = FakeSweep(tmp_path, "lost")
    lost_requests: list[str] = []

    def lose_every_third(number: int, request: str) -> str:
        if number % 3:
            return ""
        lost_requests.append(request)
        return "drop"

    proxy.fail_by(lose_every_third)
    sweep.carry_out(proxy.uri)
    assert len(lost_requests) > 50
    assert len([request for request in lost_requests if "runs/create" in request]) > 1
    assert content(server, "lost") == clean("lost")


LOGIN = f"Basic {base64.b64encode(b'me:p@ss/word').decode()}"


def with_login(proxy: FaultyProxy) -> str:
    """Make a proxy require a login, and return its address with user name and password."""
    proxy.login = LOGIN
    return proxy.uri.replace("://", "://me:p%40ss%2Fword@")


def test_sync_repairs_a_store_although_answers_are_lost(
    tmp_path: Path, proxy: FaultyProxy, server: str, clean: Callable[[str], list[Any]]
) -> None:
    sweep = FakeSweep(tmp_path, "spoilt")
    sweep.carry_out(server)
    spoil(server, "spoilt")
    place = ("--home", tmp_path, "--tracking-uri", with_login(proxy))
    proxy.fail_by(lambda number, _: "" if number % 3 else "drop")
    synced = call_command("sync", *place)
    assert synced.returncode == 0, synced.stderr
    assert proxy.counts["drop"] > 20
    assert synced.stdout.startswith(f"http://me:***@127.0.0.1:{proxy.port} contains ")
    proxy.fail_by(lambda *_: "")
    assert content(server, "spoilt") == clean("spoilt")
    reported = call_command("report", "spoilt", *place)
    assert reported.returncode == 0, reported.stderr
    for text in (synced.stdout, synced.stderr, reported.stdout, reported.stderr):
        assert "p%40ss" not in text
        assert "p@ss" not in text


@pytest.mark.usefixtures("known_cost")
def test_a_sweep_whose_store_is_away_at_the_end_is_written_by_the_same_command(
    tmp_path: Path,
    proxy: FaultyProxy,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 0.5)
    study = ("digits", "--trials", 1, "--seeds", 1, "--epochs", 2, "--set", "select.seeds=[2000]")
    place = ("--home", tmp_path, "--tracking-uri", with_login(proxy))
    command = ("sweep", *study, "--set", "confirm.cross=null", "--engine", "inline", *place)

    record = Tracker.record
    recorded: list[str] = []

    def record_until_away(tracker: Tracker, result: Any, *arguments: Any, **options: Any) -> None:
        if len(recorded) == 2:
            proxy.stop()
        recorded.append(result.digest)
        record(tracker, result, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "record", record_until_away)
        ended = call_command(*command)
    count = len(results(tmp_path))
    assert ended.returncode == 2, ended.stderr
    assert f"MLflow lacks at most {count - 2} runs of them" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "cannot be written (" in ended.stdout
    proxy.start()
    again = call_command(*command, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["state"] == "finished"
    assert set(attempts(tmp_path).values()) == {1}
    stored = [run for run in runs_of(server, "digits") if run.data.tags["nal.kind"] == "run"]
    assert sorted(run.data.tags["nal.digest"] for run in stored) == sorted(results(tmp_path))
    wrong = call_command(*command[:-1], proxy.uri.replace("://", "://me:secret@"))
    assert wrong.returncode == 2
    assert "refuses the login" in wrong.stderr
    for text in (ended.stdout, ended.stderr, again.stderr, wrong.stderr):
        assert "p%40ss" not in text
        assert "secret" not in text
    for path in (tmp_path / "sweeps").rglob("*"):
        assert not path.is_file() or b"p%40ss" not in path.read_bytes()
