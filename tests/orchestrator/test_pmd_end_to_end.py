"""A real sweep whose label noise comes from a network that it trains first."""

from __future__ import annotations

import hashlib
import json
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_line import RunningCommand, results, run_command, runs_in_mlflow

from trainables.run_data.realisation import labels_digest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_killed_while_it_trains_the_network_and_typed_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = (
        *("sweep", "digits", "--scenario", "pmd-2-0.35", "--epochs", 30, "--trials", 2),
        *("--seeds", 2, "--set", "select.seeds=[2000]", "--set", "select.candidates=1"),
        *("--home", home),
    )
    going = RunningCommand.start(*command)
    going.wait_for(lambda: any((home / "runs").glob("*/spec.json")))
    going.end_by(signal.SIGKILL)
    done = run_command(*command, "--json")
    assert done.returncode == 0, done.stderr

    found = results(home)
    (posterior,) = [digest for digest, r in found.items() if r["spec"]["scenario"] == "clean"]
    others = {digest: r for digest, r in found.items() if digest != posterior}
    folder = home / "runs" / posterior
    sha256 = hashlib.sha256((folder / "predictions.npy").read_bytes()).hexdigest()
    drawn = {labels_digest(np.load(path)) for path in folder.glob("noise-*.npy")}
    assert len(drawn) == 4  # one seed of search and select each, two of confirm
    for result in others.values():
        assert result["spec"]["needs"] == {"posterior": posterior}
        assert result["provenance"]["input.posterior"] == sha256
        assert result["labels"]["sha256"] in drawn
        assert abs(result["labels"]["flip_rate"] - 0.35) < 0.07
        assert result["labels"]["nominal_rate"] == 0.35

    table = json.loads(done.stdout)
    assert table["state"] == "finished"
    uri = f"sqlite:///{home}/mlflow.db"
    assert {run.data.tags["nal.digest"] for run in runs_in_mlflow(uri, "run")} == set(found)
    again = run_command(*command, "--json")
    assert again.returncode == 0
    assert results(home) == found
