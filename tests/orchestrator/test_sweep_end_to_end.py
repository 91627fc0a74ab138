"""A real sweep on Ray, Optuna and MLflow, and commands that continue or read it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from command_line import call_command, check_curves, results, run_command, runs_in_mlflow
from small_runs import complete_run, digits

from reports.store import open_store
from trainables.run.record import Record
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

pytestmark = pytest.mark.slow

EPOCHS = 3
SMALL = ("digits", "--epochs", EPOCHS, "--seeds", 2, "--set", "select.seeds=[2000]")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep") / "home"


@pytest.fixture(scope="module")
def sweep_process(home: Path) -> subprocess.CompletedProcess[str]:
    process = run_command("sweep", *SMALL, "--trials", 3, "--home", home, "--json")
    assert process.returncode == 0, process.stderr
    return process


@pytest.fixture
def uri(home: Path, sweep_process: subprocess.CompletedProcess[str]) -> str:
    assert sweep_process.returncode == 0
    return f"sqlite:///{home}/mlflow.db"


@pytest.fixture
def table(sweep_process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """JSON output of the sweep."""
    output: dict[str, Any] = json.loads(sweep_process.stdout)
    return output


def finished_trials(home: Path) -> Counter[str]:
    with sqlite3.connect(home / "optuna.db") as searches:
        return Counter(state for (state,) in searches.execute("SELECT state FROM trials"))


def test_plan_and_table_are_printed_to_stderr(
    sweep_process: subprocess.CompletedProcess[str],
) -> None:
    for text in (
        "3 trials × 1 seed",
        "Cross Entropy",
        "tuned (3 trials)",
        "n = 2",
        "continue the search with more trials",
    ):
        assert text in sweep_process.stderr
    assert "Traceback" not in sweep_process.stderr


def test_json_is_one_line_on_stdout(
    sweep_process: subprocess.CompletedProcess[str], table: dict[str, Any]
) -> None:
    assert sweep_process.stdout.count("\n") == 1
    assert (table["study"], table["state"]) == ("digits", "finished")


def test_each_run_is_recorded_once(home: Path, uri: str) -> None:
    recorded = results(home)
    phases = Counter(
        "search" if seed == 1000 else "select" if seed == 2000 else "confirm"
        for seed in (result["spec"]["seeds"]["init"] for result in recorded.values())
    )
    cells = runs_in_mlflow(uri, "cell")
    assert phases["search"] == 3
    assert phases["select"] in {3, 4}
    assert phases["confirm"] == 2 * len(cells)
    for result in recorded.values():
        assert result["attempts"] == 1
        assert [row["epoch"] for row in result["trace"]] == list(range(1, EPOCHS + 1))
    assert finished_trials(home) == {"COMPLETE": 3}


def test_a_run_alone_has_the_bits_of_a_run_beside_others(
    home: Path, uri: str, tmp_path: Path
) -> None:
    assert uri
    for digest, result in results(home).items():
        alone = complete_run(RunSpec.from_dict(result["spec"]), tmp_path, digits)
        assert alone.trace == Record(home, digest).read_result().trace  # type: ignore[union-attr]


def test_the_test_split_is_evaluated_in_confirm_only(home: Path, uri: str) -> None:
    assert uri
    for result in results(home).values():
        choosing = result["spec"]["seeds"]["init"] >= 1000
        assert any("test/accuracy" in row for row in result["trace"]) is not choosing


def test_mlflow_nests_seeds_below_cells_below_the_sweep(uri: str, home: Path) -> None:
    (sweep,) = runs_in_mlflow(uri, "sweep")
    assert sweep.info.status == "FINISHED"
    cells = {run.info.run_id: run for run in runs_in_mlflow(uri, "cell")}
    seeds: dict[str, list[float]] = {run_id: [] for run_id in cells}
    for run in runs_in_mlflow(uri, "run"):
        parent = run.data.tags["mlflow.parentRunId"]
        assert run.info.status == "FINISHED"
        if run.data.tags["nal.phase"] == "confirm":
            seeds[parent].append(run.data.metrics["test/accuracy"])
        else:
            assert parent == sweep.info.run_id
    for run_id, cell in cells.items():
        assert cell.data.tags["mlflow.parentRunId"] == sweep.info.run_id
        assert cell.data.metrics["n"] == 2
        mean = sum(seeds[run_id]) / 2
        assert cell.data.metrics["test/accuracy_mean"] == pytest.approx(mean)
        spread = abs(seeds[run_id][0] - seeds[run_id][1]) / 2**0.5
        assert cell.data.metrics["test/accuracy_std"] == pytest.approx(spread)
    check_curves(uri, home)


def test_the_sweep_stores_its_table_study_and_plan(uri: str) -> None:
    (sweep,) = runs_in_mlflow(uri, "sweep")
    names = {item.path for item in open_store(uri).list_artifacts(sweep.info.run_id)}
    assert names == {"plan.json", "report.html", "study.yaml", "table.md", "table.txt"}


def test_report_prints_the_same_table(home: Path, table: dict[str, Any], tmp_path: Path) -> None:
    markdown = tmp_path / "table.md"
    process = call_command("report", "digits", "--home", home, "--json", "--out", markdown)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == table
    assert "| Cross Entropy" in markdown.read_text()


def test_the_sweep_prints_where_its_page_is(
    home: Path, sweep_process: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    (path,) = (home / "sweeps").glob("*/report.html")
    assert f"with every run: {path}\n" in sweep_process.stderr
    process = call_command("report", "--home", home, "--html", tmp_path / "page.html")
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "page.html").read_text() == path.read_text()


def test_sync_restores_mlflow_from_the_records(
    home: Path, table: dict[str, Any], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    (copy / "mlflow.db").unlink()
    shutil.rmtree(copy / "artifacts")
    for _ in range(2):  # the second time changes nothing
        process = call_command("sync", "--home", copy)
        assert process.returncode == 0, process.stderr
        check_curves(f"sqlite:///{copy}/mlflow.db", copy)
    report = call_command("report", "digits", "--home", copy, "--json")
    assert json.loads(report.stdout) == table


def test_a_repeated_command_trains_nothing(home: Path, table: dict[str, Any], uri: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "runs").glob("*/*")}
    process = call_command("sweep", *SMALL, "--trials", 3, "--home", home, "--json")
    assert process.returncode == 0, process.stderr
    assert f"{len(results(home))} runs already recorded: nothing is left" in process.stderr
    assert "cost here" not in process.stderr
    assert json.loads(process.stdout) == table
    assert {path: path.stat().st_mtime_ns for path in (home / "runs").glob("*/*")} == before
    check_curves(uri, home)


def test_more_trials_leave_recorded_runs_unchanged(home: Path, uri: str) -> None:
    before = results(home)
    words = ("sweep", *SMALL, "--trials", 4, "--engine", "inline", "--home", home, "--json")
    process = call_command(*words)
    assert process.returncode == 0, process.stderr
    after = results(home)
    assert {digest: after[digest] for digest in before} == before
    assert sum(result["spec"]["seeds"]["init"] == 1000 for result in after.values()) == 4
    assert finished_trials(home) == {"COMPLETE": 4}
    assert "tuned (4 trials)" in process.stderr
    assert len(runs_in_mlflow(uri, "sweep")) == 1
    check_curves(uri, home)
