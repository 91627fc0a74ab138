"""A real sweep whose label noise comes from a network that it trains first."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_line import Going, results, runs_in_mlflow, typed

from trainables.realisation import labels_digest

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
    going = Going.typed(*command)
    going.wait_for(lambda: any((home / "runs").glob("*/spec.json")))
    going.end_by(signal.SIGKILL)
    done = typed(*command, "--json")
    assert done.returncode == 0, done.stderr

    found = results(home)
    (posterior,) = [digest for digest, r in found.items() if r["spec"]["scenario"] == "clean"]
    others = {digest: r for digest, r in found.items() if digest != posterior}
    assert (home / "runs" / posterior / "predictions.npy").is_file()
    for result in others.values():
        assert result["spec"]["needs"] == {"posterior": posterior}
        sha256 = result["spec"]["labels"]
        assert labels_digest(np.load(home / f"labels/{sha256}.npy")) == sha256
        assert result["labels"]["sha256"] == sha256
        assert abs(result["labels"]["flip_rate"] - 0.35) < 0.07
        assert result["labels"]["nominal_rate"] == 0.35

    table = json.loads(done.stdout)
    assert table["state"] == "finished"
    uri = f"sqlite:///{home}/mlflow.db"
    assert {run.data.tags["nal.digest"] for run in runs_in_mlflow(uri, "run")} == set(found)
    again = typed(*command, "--json")
    assert again.returncode == 0
    assert results(home) == found
