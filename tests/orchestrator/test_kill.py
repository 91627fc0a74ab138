"""A real sweep that is interrupted, and which the same command continues.

`test_random_kills.py` kills sweeps.
"""

from __future__ import annotations

import json
import re
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
SEARCH, SELECT = 1000, 2000
"""Seeds of the phases search and select."""


def test_a_sweep_continues_after_interruptions(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = (
        *("sweep", "digits", "--epochs", EPOCHS, "--trials", 4, "--seeds", 2),
        *("--set", "select.seeds=[2000]", "--home", home),
    )

    def interrupt(number: signal.Signals, after: int) -> None:
        process = RunningCommand.start(*command)
        # The runs may have ended before; a process with children has installed its handlers.
        process.wait_for(
            lambda: seeds_of_runs(home, ended=True)[SEARCH] >= after and bool(process.children())
        )
        code, errors = process.end_by(number)
        assert code == 130, errors
        *notes, line = errors.splitlines()
        # The command before this one may have been ended between a record and MLflow.
        assert all("lacked recorded runs or plans" in note for note in notes), errors
        # Without "after": before the first run, as while the cost is measured again under load.
        assert re.fullmatch(
            r"interrupted( after .*)?: type the same command again to continue", line
        )

    interrupt(signal.SIGINT, after=1)
    interrupt(signal.SIGTERM, after=1)
    (sweep,) = runs_in_mlflow(f"sqlite:///{home}/mlflow.db", "sweep")
    assert sweep.info.status == "KILLED"
    before = results(home)

    finished = run_command(*command, "--json")
    assert finished.returncode == 0, finished.stderr
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
        assert 1 <= result["attempts"] <= 3
    with sqlite3.connect(home / "optuna.db") as searches:
        states = Counter(state for (state,) in searches.execute("SELECT state FROM trials"))
    assert states == {"COMPLETE": 4}

    uri = f"sqlite:///{home}/mlflow.db"
    check_curves(uri, home)
    (sweep,) = runs_in_mlflow(uri, "sweep")
    assert sweep.info.status == "FINISHED"
    table = json.loads(finished.stdout)
    assert table["state"] == "finished"
    for cell in runs_in_mlflow(uri, "cell"):
        assert cell.data.metrics["n"] == 2
        assert cell.info.status == "FINISHED"


@pytest.mark.parametrize("whole_group", [False, True])
def test_sigterm_ends_a_sweep_while_workers_start(tmp_path: Path, *, whole_group: bool) -> None:
    command = ("sweep", "digits", "--epochs", EPOCHS, "--trials", 4, "--seeds", 2)
    process = RunningCommand.start(*command, "--home", tmp_path)
    process.wait_for(lambda: bool(process.children()) and (tmp_path / "optuna.db").exists())
    code, errors = process.end_by(signal.SIGTERM, whole_group=whole_group)
    assert code == 130, errors
    assert errors == "interrupted after 0 runs: type the same command again to continue\n"
