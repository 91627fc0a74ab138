"""The command `ui`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from factories import make_result
from stores import fresh_store

from orchestrator.commands.ui import is_port_free
from orchestrator.tracking.tracker import Tracker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_ui_serves_pages_until_it_is_stopped(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    Tracker(uri, tmp_path / "artifacts", "digits").record(make_result(), "train")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "orchestrator", "ui", "--home", str(tmp_path)]
    server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 90
        while not _answers(port):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.3)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    deadline = time.monotonic() + 30
    while not is_port_free("127.0.0.1", port):
        assert time.monotonic() < deadline
        time.sleep(0.3)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
