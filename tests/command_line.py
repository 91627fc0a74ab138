"""Commands of the command line, in this process or in another one, and their results in MLflow."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from orchestrator.__main__ import main
from reports.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.entities import Run

CHECKOUT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 300.0


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return {**inherited, "COLUMNS": "200", "PYTHONPATH": str(CHECKOUT)}


def run_command(
    *words: object, folder: Path | None = None, patience_seconds: float = PATIENCE_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run `python -m orchestrator ...` without a terminal and wait until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *map(str, words)],
        cwd=folder or CHECKOUT,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience_seconds,
    )


def call_command(
    *words: object, folder: Path | None = None, columns: int = 200
) -> subprocess.CompletedProcess[str]:
    """Run `python -m orchestrator ...` in this process, which saves the time of its imports."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        chdir(folder or CHECKOUT),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", ["orchestrator", *map(str, words)])
        patch.setattr(sys, "stdin", io.StringIO())
        patch.setenv("COLUMNS", str(columns))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with pytest.raises(SystemExit) as end:
            main()
    exit_code = end.value.code or 0
    assert isinstance(exit_code, int)
    return subprocess.CompletedProcess(
        list(map(str, words)), exit_code, output.getvalue(), errors.getvalue()
    )


@dataclass
class RunningCommand:
    """A command that is running, in a process group of its own."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, *words: object) -> RunningCommand:
        """Start a command without waiting for its end."""
        return cls(
            subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *map(str, words)],
                cwd=CHECKOUT,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; the command must still be running then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.02)

    def children(self) -> list[psutil.Process]:
        """Return all processes that the command has started, directly or indirectly."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end_by(self, number: signal.Signals, *, whole_group: bool = False) -> tuple[int, str]:
        """Send a signal to the process and wait until it has ended.

        Args:
            number: signal to send; SIGINT is sent to the group, as a terminal does with Ctrl-C.
            whole_group: whether to send the signal to all processes that the command has started,
                as job schedulers do.

        Returns:
            The exit code and the text on standard error, once all child processes have ended.
        """
        children = self.children()
        if whole_group:
            for process in children:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        if number is signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while alive := [process for process in children if _is_working(process)]:
            assert time.monotonic() < deadline, alive
            time.sleep(0.1)
        return self.process.returncode, errors


def _is_working(process: psutil.Process) -> bool:
    """Return whether a process could still carry out a run.

    Ray's agents outlive a killed raylet by a minute, but carry out no runs.
    """
    try:
        agent = any("Agent" in word or "agent" in word for word in process.cmdline())
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE and not agent
    except psutil.NoSuchProcess:
        return False


def seeds_of_runs(home: Path, *, ended: bool) -> Counter[int]:
    """Count the base seeds of the runs under a home that have, or have not, ended."""
    seeds: Counter[int] = Counter()
    for path in (home / "runs").glob("*/spec.json"):
        if (path.parent / "result.json").exists() is ended:
            seeds[json.loads(path.read_text())["seeds"]["init"]] += 1
    return seeds


def results(home: Path) -> dict[str, dict[str, Any]]:
    """Return the results under a home, by digest."""
    return {
        path.parent.name: json.loads(path.read_text())
        for path in (home / "runs").glob("*/result.json")
    }


def runs_in_mlflow(uri: str, kind: str) -> list[Run]:
    """Return the MLflow runs of one kind: "run", "cell" or "sweep"."""
    client = open_store(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`nal.kind` = '{kind}'", max_results=1000))


def check_curves(uri: str, home: Path) -> None:
    """Assert that MLflow has every recorded run once, with the metrics of its trace."""
    client = open_store(uri)
    recorded = results(home)
    runs = runs_in_mlflow(uri, "run")
    assert sorted(run.data.tags["nal.digest"] for run in runs) == sorted(recorded)
    for run in runs:
        trace = recorded[run.data.tags["nal.digest"]]["trace"]
        for metric in ("train/loss", "train/accuracy", "val/accuracy", "test/accuracy"):
            points = client.get_metric_history(run.info.run_id, metric)
            written = sorted((point.step, point.value) for point in points)
            assert written == [(row["epoch"], row[metric]) for row in trace if metric in row]
