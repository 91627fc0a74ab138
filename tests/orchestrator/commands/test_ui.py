"""The command `ui`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from factories import make_result
from stores import fresh_store

from orchestrator.__main__ import main
from orchestrator.commands import ui
from orchestrator.commands.ui import is_port_free
from orchestrator.home import Home
from orchestrator.tracking.tracker import Tracker
from trainables.databases import database_url

LATE_SERVER = """\
import socket, sys, time
time.sleep(0.5)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    server.accept()
    time.sleep(0.5)
"""
"""Program that listens on a port after half a second, and ends after the first connection."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home folder with an MLflow store."""
    return home_with_a_run(tmp_path)


def home_with_a_run(folder: Path) -> Home:
    """Record a run in the MLflow store of a home folder."""
    uri = database_url(Path(fresh_store(folder).removeprefix("sqlite:///")))
    Tracker(uri, folder / "artifacts", "digits").record(make_result(), "train")
    return Home(folder)


def test_the_address_is_printed_when_the_server_answers(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = _free_port()
    command = [sys.executable, "-c", LATE_SERVER, str(port)]
    monkeypatch.setattr(ui, "module_command", lambda *_: command)
    is_listening, printed = ui._is_listening, []

    def observe(host: str, port: int) -> bool:
        printed.append(capsys.readouterr().out)
        return is_listening(host, port)

    monkeypatch.setattr(ui, "_is_listening", observe)
    assert ui.run(home, "127.0.0.1", port) == 0
    assert len(printed) > 1
    assert "Open" not in "".join(printed)
    assert f"Open http://127.0.0.1:{port} " in capsys.readouterr().out


def test_a_server_that_ends_at_once_has_no_address(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(ui, "module_command", lambda *_: command)
    assert ui.run(home, "127.0.0.1", _free_port()) == 3
    assert "Open" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("ui",), "interrupted\n"),
        (("report",), "interrupted\n"),
        (("sync",), "interrupted: type the same command again to continue\n"),
    ],
)
def test_only_commands_that_continue_say_so_when_interrupted(
    command: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"orchestrator.commands.{command[0]}.run", interrupt)
    monkeypatch.setattr("orchestrator.recorded_names.require_sweeps", lambda _home: None)
    monkeypatch.setattr(sys, "argv", ["orchestrator", *command])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == sentence


@pytest.mark.slow
def test_ui_serves_pages_until_it_is_stopped(tmp_path: Path) -> None:
    # MLflow decodes no "%" in the address of a database, and creates a folder of the encoded name.
    folder = tmp_path / "50% off"
    folder.mkdir()
    home, marker = home_with_a_run(folder), tmp_path / "executed"
    for module in ("mlflow", "uvicorn"):
        (folder / f"{module}.py").write_text(
            f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
        )
    port = _free_port()
    command = [sys.executable, "-m", "orchestrator", "ui", "--home", str(home.path)]
    server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 90
        while not _answers(port):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.3)
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    deadline = time.monotonic() + 30
    while not is_port_free("127.0.0.1", port):
        assert time.monotonic() < deadline
        time.sleep(0.3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
