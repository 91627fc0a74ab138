"""The driver of a real sweep is killed in each phase, and the same command typed again."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from command_line import (
    RunningCommand,
    check_curves,
    results,
    run_command,
    runs_in_mlflow,
    seeds_of_runs,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

EPOCHS = 30
SEARCH, SELECT, CONFIRM = 1000, 2000, 0
"""A seed of each phase."""


def test_killed_in_each_phase_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = (
        *("sweep", "digits", "--epochs", EPOCHS, "--trials", 4, "--seeds", 2),
        *("--set", "select.seeds=[2000]", "--home", home),
    )

    def interrupted() -> None:
        going = RunningCommand.start(*command)
        going.wait_for(lambda: seeds_of_runs(home, ended=True)[SEARCH] >= 1)
        code, errors = going.end_by(signal.SIGINT)
        assert code == 130
        assert errors.splitlines()[-1].startswith("error: interrupted after ")
        assert "Traceback" not in errors

    def killed_in(phase: int, after: int) -> None:
        """Kill it when runs of a phase have ended and others are being trained."""
        going = RunningCommand.start(*command)
        going.wait_for(
            lambda: (
                seeds_of_runs(home, ended=True)[phase] >= after
                and seeds_of_runs(home, ended=False)[phase] >= 1
            )
        )
        code, _ = going.end_by(signal.SIGKILL)
        assert code == -signal.SIGKILL

    interrupted()
    (sweep,) = runs_in_mlflow(f"sqlite:///{home}/mlflow.db", "sweep")
    assert sweep.info.status == "KILLED"
    killed_in(SEARCH, after=2)
    killed_in(SELECT, after=1)
    killed_in(CONFIRM, after=1)
    before = results(home)

    done = run_command(*command, "--json")
    assert done.returncode == 0, done.stderr
    after = results(home)
    assert {digest: after[digest] for digest in before} == before
    assert {path.parent.name for path in (home / "runs").glob("*/spec.json")} == set(after)

    seeds = Counter(result["spec"]["seeds"]["init"] for result in after.values())
    assert seeds[SEARCH] == 4
    assert seeds[SELECT] in {3, 4}
    assert seeds[0] == seeds[1]
    assert seeds[0] in {2, 3}
    for result in after.values():
        assert [row["epoch"] for row in result["trace"]] == list(range(1, EPOCHS + 1))
        assert len(result["seconds"]) == EPOCHS
        assert 1 <= result["attempts"] <= 5
    with sqlite3.connect(home / "optuna.db") as searches:
        states = Counter(state for (state,) in searches.execute("SELECT state FROM trials"))
    assert states["COMPLETE"] == 4
    assert set(states) <= {"COMPLETE", "FAIL"}

    uri = f"sqlite:///{home}/mlflow.db"
    check_curves(uri, home)
    (sweep,) = runs_in_mlflow(uri, "sweep")
    assert sweep.info.status == "FINISHED"
    table = json.loads(done.stdout)
    assert table["state"] == "finished"
    for cell in runs_in_mlflow(uri, "cell"):
        assert cell.data.metrics["n"] == 2
        assert cell.info.status == "FINISHED"
