"""The commands that only read: `studies`, `show` and `ui`."""

from __future__ import annotations

import json
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

from orchestrator.commands.studies import list_studies, show
from orchestrator.commands.ui import is_free
from orchestrator.flags import Changes
from orchestrator.tracking.tracker import Tracker
from search_spaces.files import study_titles
from search_spaces.loader import load_study

if TYPE_CHECKING:
    from pathlib import Path


def test_studies_lists_names_and_titles(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_studies(as_json=False) == 0
    text = capsys.readouterr().out
    for name, title in study_titles().items():
        assert name in text
        assert title in text
    assert list_studies(as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == study_titles()


def test_show_prints_values_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(Changes("cifar100", sets=("search.trials=7",)), as_yaml=False) == 0
    lines = capsys.readouterr().out.splitlines()
    for key, value, source in (
        ("hyperparameters.nal.first_target_epoch", "60", "public code, train_cifar.py"),
        ("reference.nal.lambda", "10", "paper, section 5.2"),
        ("search.trials", "7", "set by --set"),
    ):
        (line,) = [line for line in lines if line.startswith(f"{key} ")]
        assert line.split()[1].startswith(value)
        assert source in line


def test_show_as_yaml_is_the_same_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(Changes("digits", epochs=12), as_yaml=True) == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    assert load_study(str(path)).plain == Changes("digits", epochs=12).load().plain


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
    while not is_free("127.0.0.1", port):
        assert time.monotonic() < deadline
        time.sleep(0.3)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
