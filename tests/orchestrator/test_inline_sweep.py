"""`sweep --engine inline`: the same sweep in one process, on a machine without Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command_line import CHECKOUT, RunningCommand, check_curves, results, run_command, seeds_of_runs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from orchestrator.__main__ import main
main()
"""
SHORT = ("sweep", "digits", "--trials", "2", "--seeds", "2", "--set", "select.seeds=[2000]")


def typed_without_ray(*words: object) -> subprocess.CompletedProcess[str]:
    """Type a command where Ray cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_ray_is_needed(tmp_path: Path) -> None:
    command = (*SHORT, "--epochs", 8, "--home", tmp_path)
    refused = typed_without_ray(*command)
    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("error: Ray cannot be imported (")
    assert last.endswith("add --engine inline")
    done = typed_without_ray(*command, "--engine", "inline", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"
    check_curves(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)


def test_interrupted_killed_and_typed_again(tmp_path: Path) -> None:
    command = (*SHORT, "--epochs", 30, "--engine", "inline", "--home")
    whole = run_command(*command, tmp_path / "whole", "--json")
    assert whole.returncode == 0, whole.stderr
    home = tmp_path / "home"
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        going = RunningCommand.start(*command, home)
        ended = seeds_of_runs(home, ended=True).total()
        going.wait_for(
            lambda ended=ended: (
                seeds_of_runs(home, ended=True).total() > ended
                and seeds_of_runs(home, ended=False).total() == 1
            )
        )
        found, errors = going.end_by(number)
        assert found == code
        if number is signal.SIGINT:
            last = errors.splitlines()[-1]
            assert last.startswith("error: interrupted after ")
            assert last.endswith(" runs: type the same command to go on")
    done = run_command(*command, home, "--json")
    assert done.returncode == 0, done.stderr
    one, other = results(home), results(tmp_path / "whole")
    assert {digest: run["trace"] for digest, run in one.items()} == {
        digest: run["trace"] for digest, run in other.items()
    }
    sections = [json.loads(end.stdout)["sections"] for end in (done, whole)]
    assert sections[0] == sections[1]
