"""The command `status`, beside a sweep and after its death."""

from __future__ import annotations

import json
import shlex
import signal
from typing import TYPE_CHECKING, Any

import pytest
from command_line import RunningCommand, call_command

from orchestrator.commands import status as status_command

if TYPE_CHECKING:
    from pathlib import Path

SWEEP = (
    *("sweep", "digits", "--engine", "inline", "--epochs", 60, "--trials", 2, "--seeds", 1),
    *("--methods", "nal,ce", "--set", "select.seeds=[2000]"),
)


def status_of(home: Path, *flags: str) -> list[dict[str, Any]]:
    """Return the last status that the command prints as JSON."""
    done = call_command("status", "--home", home, "--json", *flags)
    assert done.returncode == 0, done.stderr
    values: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return values


def test_without_a_sweep_the_next_step_is_named(tmp_path: Path) -> None:
    done = call_command("status", "--home", tmp_path / "home")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: no run is recorded in the home folder {tmp_path}")
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_status_and_logs_of_a_sweep_that_is_killed_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = RunningCommand.start(*SWEEP, "--home", tmp_path)

    def trains_for_a_while() -> bool:
        if not any(tmp_path.glob("sweeps/*/progress.json")):
            return False
        (status,) = status_of(tmp_path)
        return status["state"] == "running" and any(
            run["epoch"] > 0 and run["seconds_per_epoch"] for run in status["running"]
        )

    process.wait_for(trains_for_a_while)
    code, errors = process.end_by(signal.SIGKILL)
    assert code == -signal.SIGKILL, errors
    (dead,) = status_of(tmp_path)
    assert dead["state"] == "interrupted"
    assert dead["running"] == []
    assert dead["seconds_left"] > 0
    program, *words = shlex.split(dead["command"])
    assert (program, words[:2]) == ("python", ["-m", "orchestrator"])
    assert f"to go on     {dead['command']}\n" in call_command("status", "--home", tmp_path).stdout

    process = RunningCommand.start(*words[2:])
    process.wait_for(lambda: status_of(tmp_path)[0]["state"] == "running")
    monkeypatch.setattr(status_command, "PIPED_WATCH_SECONDS", 0.5)
    (status,) = status_of(tmp_path, "--watch")
    _, errors = process.process.communicate(timeout=60)
    assert process.process.returncode == 0, errors
    assert status["state"] == "finished"
    counts = {phase["phase"]: phase["counts"] for phase in status["phases"]}
    assert all(set(states) == {"finished"} for states in counts.values())
    assert counts["search"] == {"finished": 2}
    assert status["ended"] == status["total"] == len(list(tmp_path.glob("runs/*/result.json")))
    assert [start["state"] for start in status["starts"]] == ["running", "ended"]

    digest = status["best"]["digest"]
    log = call_command("logs", digest[:8], "--home", tmp_path)
    assert log.returncode == 0, log.stderr
    assert "attempt 1: nal on symmetric-0.4, seed 1000, 60 epochs" in log.stdout
    assert log.stdout.endswith(" finished\n")
