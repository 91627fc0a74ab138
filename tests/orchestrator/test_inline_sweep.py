"""`sweep --engine inline`: a sweep in one process, on a machine without Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from command_line import (
    CHECKOUT,
    PATIENCE_SECONDS,
    RunningCommand,
    check_curves,
    results,
    run_command,
    seeds_of_runs,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SHORT = ("sweep", "digits", "--trials", "2", "--seeds", "2", "--set", "select.seeds=[2000]")


def run_without_ray(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command where Ray cannot be imported.

    Args:
        folder: folder for a module in place of Ray.
        arguments: arguments of the command.
    """
    folder.mkdir(exist_ok=True)
    (folder / "ray.py").write_text("raise ImportError('Ray is not installed')")
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(CHECKOUT)])},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_ray_is_not_required(tmp_path: Path) -> None:
    command = (*SHORT, "--epochs", 8, "--home", tmp_path)
    failed = run_without_ray(tmp_path / "modules", *command)
    assert failed.returncode == 2
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("error: Ray cannot be imported (")
    assert last.endswith("add --engine inline")
    finished = run_without_ray(tmp_path / "modules", *command, "--engine", "inline", "--json")
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["state"] == "finished"
    check_curves(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)


def test_a_sweep_continues_after_a_suspension_an_interruption_and_a_kill(tmp_path: Path) -> None:
    command = (*SHORT, "--epochs", 30, "--engine", "inline", "--home")
    suspended = RunningCommand.start(*command, tmp_path / "suspended", "--json")
    suspended.wait_for(lambda: seeds_of_runs(tmp_path / "suspended", ended=True).total() > 0)
    suspended.process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    suspended.process.send_signal(signal.SIGCONT)
    reference_output, errors = suspended.process.communicate(timeout=PATIENCE_SECONDS)
    assert suspended.process.returncode == 0, errors
    home = tmp_path / "home"
    codes = {signal.SIGINT: 130, signal.SIGTERM: 130, signal.SIGKILL: -signal.SIGKILL}
    for number, code in codes.items():
        process = RunningCommand.start(*command, home)
        ended_before = seeds_of_runs(home, ended=True).total()

        def one_more_has_ended(before: int = ended_before) -> bool:
            return (
                seeds_of_runs(home, ended=True).total() > before
                and seeds_of_runs(home, ended=False).total() == 1
            )

        process.wait_for(one_more_has_ended)
        exit_code, errors = process.end_by(number)
        assert exit_code == code
        if number is not signal.SIGKILL:
            *notes, line = errors.splitlines()
            # The command before this one may have been ended between a record and MLflow.
            assert all("lacked recorded runs or plans" in note for note in notes), errors
            assert line.startswith("interrupted after ")
            assert line.endswith(": type the same command again to continue")
    finished = run_command(*command, home, "--json")
    assert finished.returncode == 0, finished.stderr
    interrupted_runs, reference_runs = results(home), results(tmp_path / "suspended")
    assert {digest: run["trace"] for digest, run in interrupted_runs.items()} == {
        digest: run["trace"] for digest, run in reference_runs.items()
    }
    sections = [json.loads(text)["sections"] for text in (finished.stdout, reference_output)]
    assert sections[0] == sections[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_train_says_that_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = ("train", "digits", "--epochs", 5000, "--home", tmp_path)
    process = RunningCommand.start(*command)
    process.wait_for(lambda: any((tmp_path / "runs").glob("*/spec.json")))
    code, errors = process.end_by(number)
    assert code == 130, errors
    assert errors == "interrupted: type the same command again to continue\n"
