"""Sweeps under a time budget, and sweeps that are shrunk to fit, as commands."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from command_line import call_command, results
from fake_runs import attempts

from orchestrator.watching.progress_record import read_progress
from reports.store import open_store

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

pytestmark = [
    pytest.mark.slow,
    # The end of the time may interrupt Python between opening a file and the block that closes it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STUDY = (
    *("sweep", "digits", "--engine", "inline", "--epochs", 10, "--trials", 3),
    *("--set", "select.seeds=[2000]"),
)
BUDGET_SECONDS = 12.0


def sweep(home: Path, *flags: object) -> CompletedProcess[str]:
    """Carry out a short sweep of digits and print its table as JSON."""
    return call_command(*STUDY, "--home", home, "--json", *flags)


@pytest.fixture(autouse=True)
def idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use measurements again that were made beside other processes."""
    monkeypatch.setattr("orchestrator.planning.load.LoadMeter.free_cpus", lambda _meter: 64.0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Home and table of a sweep without a budget, which has also imported all that runs need."""
    home = tmp_path_factory.mktemp("undisturbed")
    finished = sweep(home, "--seeds", 2)
    assert finished.returncode == 0, finished.stderr
    return home, json.loads(finished.stdout)


@pytest.fixture
def home(tmp_path: Path, undisturbed: tuple[Path, dict[str, Any]]) -> Path:
    """New home with the measured costs of another one."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(undisturbed[0] / "cache", home / "cache")
    return home


def plan_of(home: Path) -> dict[str, Any]:
    """Return the plan that is recorded of the only sweep."""
    (path,) = home.glob("sweeps/*/plan.json")
    plan: dict[str, Any] = json.loads(path.read_text())
    return plan


def test_a_budget_ends_with_a_table_and_a_larger_one_goes_on(
    home: Path, undisturbed: tuple[Path, dict[str, Any]]
) -> None:
    hours = ("--budget-hours", BUDGET_SECONDS / 3600)
    ended = sweep(home, "--seeds", 300, *hours)
    assert ended.returncode == 0, ended.stderr
    table, plan = json.loads(ended.stdout), plan_of(home)
    assert "The time budget of 12 s is spent in the phase confirm: the table has what" in (
        ended.stderr
    )
    assert f"--budget-hours {2 * BUDGET_SECONDS / 3600}" in ended.stderr
    assert (table["state"], plan["state"], plan["is_budget_spent"]) == ("running", "running", True)
    counts = [
        len(entry["runs"])
        for row in table["sections"][0]["rows"]
        for entry in row["entries"][:1]
        if row["kind"] == "measured"
    ]
    assert len(counts) >= 2
    assert 1 <= min(counts) <= max(counts) <= min(counts) + 1 < 300
    progress = read_progress(next(home.glob("sweeps/*/")))
    assert progress is not None
    assert BUDGET_SECONDS - 1 < progress.total_seconds < BUDGET_SECONDS + 10
    store = open_store(f"sqlite:///{home}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in store.search_experiments()]
    (sweep_run,) = store.search_runs(experiments, "tags.`nal.kind` = 'sweep'")
    assert sweep_run.info.status == "KILLED"

    trained = results(home)
    again = sweep(home, "--seeds", 300, *hours)
    assert again.returncode == 0, again.stderr
    assert "is spent in the phase confirm" in again.stderr
    assert results(home).keys() == trained.keys()
    assert json.loads(again.stdout)["sections"] == table["sections"]

    raised = sweep(home, "--seeds", 2, "--budget-hours", 1)
    assert raised.returncode == 0, raised.stderr
    undisturbed_home, expected_table = undisturbed
    finished_table = json.loads(raised.stdout)
    assert finished_table["state"] == "finished"
    assert finished_table["sections"] == expected_table["sections"]
    traces = {digest: run["trace"] for digest, run in results(home).items()}
    expected = {digest: run["trace"] for digest, run in results(undisturbed_home).items()}
    assert expected.items() <= traces.items()
    # Only the run that the budget interrupted was opened twice.
    assert sorted(attempts(home).values())[:-1] == [1] * (len(attempts(home)) - 1)


def test_a_sweep_is_shrunk_to_fit(home: Path) -> None:
    refused = sweep(home, "--fit", "1s")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("error: --fit 1s: even the smallest sweep (budget.shrink: ")
    too_small = sweep(home, "--budget-hours", "1e-6")
    assert too_small.returncode == 2
    assert too_small.stderr.startswith(
        "error: --budget-hours: 0 s is less than the shortest run takes on this machine, about "
    )
    many = ("--seeds", 1000, "--trials", 4)
    unconfirmed = sweep(home, *many, "--fit", "2min")
    assert unconfirmed.returncode == 2
    assert "To fit into 2min, the sweep is shrunk (budget.shrink: trials, seeds, epochs," in (
        unconfirmed.stderr
    )
    assert "seeds 1000 → " in unconfirmed.stderr
    assert unconfirmed.stderr.splitlines()[-1] == (
        "error: this is the sweep that fits: type its command above, or add --yes"
    )
    assert not list(home.glob("runs/*"))
    fits = sweep(home, "--seeds", 3, "--fit", "2d", "--dry-run")
    assert fits.returncode == 0
    assert "The sweep fits into 2d as it is: it takes about " in fits.stderr
