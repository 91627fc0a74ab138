"""The command `status`, beside a sweep and after its death."""

from __future__ import annotations

import json
import shlex
import signal
from typing import TYPE_CHECKING, Any

import pytest
from command_line import RunningCommand, call_command

from orchestrator.commands import status as status_command
from orchestrator.watching.progress_record import read_progress

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.watching.progress_record import ProgressRecord

SWEEP = (
    *("sweep", "digits", "--engine", "inline", "--epochs", 30, "--trials", 2, "--seeds", 1),
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
    def last_progress() -> ProgressRecord | None:
        return next(map(read_progress, tmp_path.glob("sweeps/*/")), None)

    def trains_for_a_while() -> bool:
        progress = last_progress()
        return progress is not None and any(run.seconds_per_epoch for run in progress.running)

    def has_started_again() -> bool:
        progress = last_progress()
        return progress is not None and len(progress.starts) == 2

    process = RunningCommand.start(*SWEEP, "--home", tmp_path)
    process.wait_for(trains_for_a_while)
    (alive,) = status_of(tmp_path)
    assert alive["state"] == "running"
    assert alive["silent_seconds"] is None
    assert alive["starts"][-1]["pid"] == process.process.pid
    code, errors = process.end_by(signal.SIGKILL)
    assert code == -signal.SIGKILL, errors
    (dead,) = status_of(tmp_path)
    assert dead["state"] == "interrupted"
    assert dead["running"] == []
    assert dead["seconds_left"] > 0
    program, *words = shlex.split(dead["command"])
    assert (program, words[:2]) == ("python", ["-m", "orchestrator"])
    shown = call_command("status", "--home", tmp_path).stdout
    assert shown.endswith(f"\nto go on:\n  {dead['command']}\n")

    process = RunningCommand.start(*words[2:])
    process.wait_for(has_started_again)
    monkeypatch.setattr(status_command, "PIPED_WATCH_SECONDS", 1.0)
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
    assert "attempt 1: nal on symmetric-0.4, seed 1000, 30 epochs" in log.stdout
    assert log.stdout.endswith(" finished\n")
