"""A real sweep of every method on two workers, against plain trainings in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from command_line import call_command, results, run_command, runs_in_mlflow
from small_runs import assert_same_bits, bits, complete_run, digits

from search_spaces.loader import load_study
from trainables.diagnostics.store import load_diagnostics
from trainables.methods import METHODS
from trainables.run.record import Record
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

EPOCHS = 8


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("methods") / "home"


@pytest.fixture(scope="module")
def table(home: Path) -> dict[str, Any]:
    process = run_command(
        *("sweep", "digits-methods", "--epochs", EPOCHS, "--subset", 400, "--trials", 2),
        *("--seeds", 2, "--set", "select.seeds=[2000]", "--set", "select.candidates=1"),
        *("--home", home, "--json"),
    )
    assert process.returncode == 0, process.stderr
    output: dict[str, Any] = json.loads(process.stdout)
    return output


def specs(home: Path) -> list[RunSpec]:
    """Return the specs of the confirm runs, each after the runs that it needs."""
    recorded = [RunSpec.from_dict(result["spec"]) for result in results(home).values()]
    confirmed = [spec for spec in recorded if "test" in spec.evaluate]
    return sorted(confirmed, key=lambda spec: len(spec.needs))


def test_every_method_has_a_row(table: dict[str, Any]) -> None:
    study = load_study("digits-methods").study
    rows = {row["name"].partition(",")[0] for s in table["sections"] for row in s["rows"]}
    assert rows == {METHODS[name].title for name in study.methods}
    assert any("epochs with the matched recipe" in note for note in table["notes"])


def test_runs_on_workers_equal_runs_in_this_process(
    home: Path, table: dict[str, Any], tmp_path: Path
) -> None:
    assert table["state"] == "finished"
    trained = specs(home)
    assert {spec.method for spec in trained} == set(METHODS)
    for spec in trained:
        expected = complete_run(spec, tmp_path, digits, "study")
        recorded = Record(home, spec.digest).read_result()
        assert recorded is not None
        assert (recorded.trace, recorded.status) == (expected.trace, expected.status)
        assert recorded.diagnostics.keys() == expected.diagnostics.keys()
        inputs = [key for key in expected.provenance if key.startswith("input.")]
        assert len(inputs) == len(spec.needs)
        assert [recorded.provenance[key] for key in inputs] == [
            expected.provenance[k] for k in inputs
        ]
        states = [
            torch.load(Record(folder, spec.digest).checkpoint_path, weights_only=True)["trainer"]
            for folder in (home, tmp_path)
        ]
        assert_same_bits(*map(bits, states))
        assert load_diagnostics(Record(home, spec.digest).folder) is not None


def test_mlflow_has_the_diagnostics_and_the_convergence(home: Path, table: dict[str, Any]) -> None:
    assert table["state"] == "finished"
    runs = runs_in_mlflow(f"sqlite:///{home}/mlflow.db", "run")
    nal = next(run for run in runs if run.data.params["method"] == "nal")
    assert {"diagnostics/mislabelled/memorised", "diagnostics/attention/auroc"} <= set(
        nal.data.metrics
    )
    assert {run.data.tags["nal.converged"] for run in runs} <= {"yes", "no"}
    assert all("train/accuracy_true" in run.data.metrics for run in runs)


def test_every_cell_is_recorded_once(home: Path, table: dict[str, Any]) -> None:
    assert table["state"] == "finished"
    cells = runs_in_mlflow(f"sqlite:///{home}/mlflow.db", "cell")
    rows = [row for row in table["sections"][0]["rows"] if row["kind"] == "measured"]
    assert len(cells) == len(rows)
    assert {cell.info.status for cell in cells} == {"FINISHED"}


def test_train_of_a_method_with_stages(tmp_path: Path) -> None:
    command = ("train", "digits", "--method", "dac", "--epochs", EPOCHS, "--subset", 300)
    sets = ("--set", "warm_up_epochs=2", "--home", tmp_path)
    process = call_command(*command, *sets, "--json")
    assert process.returncode == 0, process.stderr
    recorded = results(tmp_path)
    assert sorted(result["spec"]["method"] for result in recorded.values()) == [
        "dac",
        "dac-abstain",
    ]
    repeated = call_command(*command, *sets, "--json")
    assert repeated.stderr.count("is already recorded: nothing is left to train") == 2
    assert json.loads(repeated.stdout)["digest"] == json.loads(process.stdout)["digest"]
