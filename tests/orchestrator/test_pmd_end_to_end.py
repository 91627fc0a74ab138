"""A real sweep with label noise drawn from a network that the sweep trains first."""

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


def test_a_sweep_continues_after_a_kill_during_the_posterior(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = (
        *("sweep", "digits", "--scenario", "pmd-2-0.35", "--epochs", 30, "--trials", 2),
        *("--seeds", 2, "--set", "select.seeds=[2000]", "--set", "select.candidates=1"),
        *("--home", home),
    )
    process = RunningCommand.start(*command)
    process.wait_for(lambda: any((home / "runs").glob("*/spec.json")))
    process.end_by(signal.SIGKILL)
    finished = run_command(*command, "--json")
    assert finished.returncode == 0, finished.stderr

    recorded = results(home)
    (posterior,) = [digest for digest, r in recorded.items() if r["spec"]["scenario"] == "clean"]
    dependents = {digest: r for digest, r in recorded.items() if digest != posterior}
    folder = home / "runs" / posterior
    sha256 = hashlib.sha256((folder / "predictions.npy").read_bytes()).hexdigest()
    label_digests = {labels_digest(np.load(path)) for path in folder.glob("noise-*.npy")}
    assert len(label_digests) == 4  # one seed of search and select each, two of confirm
    for result in dependents.values():
        assert result["spec"]["needs"] == {"posterior": posterior}
        assert result["provenance"]["input.posterior"] == sha256
        assert result["labels"]["sha256"] in label_digests
        assert abs(result["labels"]["flip_rate"] - 0.35) < 0.07
        assert result["labels"]["nominal_rate"] == 0.35

    table = json.loads(finished.stdout)
    assert table["state"] == "finished"
    uri = f"sqlite:///{home}/mlflow.db"
    assert {run.data.tags["nal.digest"] for run in runs_in_mlflow(uri, "run")} == set(recorded)
    repeated = run_command(*command, "--json")
    assert repeated.returncode == 0
    assert results(home) == recorded
