"""Sweeps and `sync` with a real MLflow server behind a network that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from faulty_proxy import FaultyProxy, mlflow_server
from stored_sweeps import FakeSweep, content
from waiting import wait_until

from orchestrator.tracking import persistence
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
            wait_until(lambda: "does not answer (" in sweep.notices[-1])
            proxy.fail_by(lambda *_: "500")
            proxy.start()
        elif count == 6:
            proxy.delay_seconds = 0.02
            proxy.fail_by(lambda number, _: "500" if number < 8 else "delay")

    sweep.carry_out(proxy.uri, fail)
    assert proxy.counts["500"] == 7
    assert proxy.counts["delay"] > 50
    assert "training goes on, " in sweep.notices[0]
    assert f"MLflow at {proxy.uri} answers again: " in sweep.notices[-1]
    assert content(server, "outage") == clean("outage")


def test_lost_answers_double_nothing(
    tmp_path: Path, proxy: FaultyProxy, server: str, clean: Callable[[str], list[Any]]
) -> None:
    sweep = FakeSweep(tmp_path, "lost")
    proxy.fail_by(lambda number, _: "" if number % 3 else "drop")
    sweep.carry_out(proxy.uri)
    assert proxy.counts["drop"] > 50
    assert content(server, "lost") == clean("lost")
