"""Commands that train recorded runs again: they find the same digests."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from command_line import results, run_command
from plans import STUDY, Driver, random_data
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands import train
from orchestrator.flags import StudyFlags
from orchestrator.planning.plan import Plan
from orchestrator.tracking.recording import plan_record
from orchestrator.tracking.retraining import _without_folder
from search_spaces.schema import Phase

if TYPE_CHECKING:
    from pathlib import Path

    from reports.plan_record import PlanRecord

RECIPE_SPACE = (
    "search.space.nal={lambda: {low: 1.0e-6, high: 1.0e-5}, learning_rate: {low: 0.01, high: 0.1}}"
)


def recorded_plan(home: Path, flags: StudyFlags) -> PlanRecord:
    loaded = flags.load()
    sweep = Driver(Plan(loaded.name, loaded.study, random_data()), home).run().sweep
    return plan_record(sweep, loaded, flags)


def digest_of(command: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the digest of the run that a command would train, on random data."""
    digests = []

    def run(flags: StudyFlags, _locations: object, method: str, seed: int, **_: Any) -> int:
        flags, values = train._split_assignments(flags, method)
        study = flags.load().study
        plan = Plan("small", study, random_data())
        digests.append(plan.spec(Phase.CONFIRM, method, study.scenarios[0], values, seed).digest)
        return 0

    monkeypatch.setattr(train, "run", run)
    program = ["python", "-m", "orchestrator"]
    words = shlex.split(command)
    assert words[: len(program)] == program
    done = CliRunner().invoke(app, words[len(program) :])
    assert done.exit_code == 0, done.output
    return digests[0]


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"epochs": 3, "subset": 60, "trials": 2, "seeds": 1},
        {"scenarios": ("symmetric-0.2", "symmetric-incl-0.4"), "sets": ("recipe.batch_size=16",)},
        {
            "scenarios": ("symmetric-0.2", "symmetric-incl-0.4"),
            "sets": ("search.scenario=symmetric-0.2",),
        },
        {"methods": ("nal", "elr"), "sets": ("hyperparameters.elr.lambda=3",)},
        {"methods": ("nal",), "sets": ("vary={nal: {alpha: [0.6, 0.123456789]}}", "tune=[]")},
        {"sets": (RECIPE_SPACE, "reference.nal={lambda: 1.0e-6, learning_rate: 0.05}")},
    ],
    ids=lambda flags: " ".join(flags) or "none",
)
def test_the_command_names_the_same_run(
    flags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(STUDY)
    plan = recorded_plan(tmp_path, StudyFlags(str(tmp_path / "small.yaml"), **flags))
    assert plan.cells
    for cell in plan.cells:
        assert str(tmp_path) not in cell.command
        for seed, digest in zip(cell.seeds, cell.digests, strict=True):
            assert digest_of(f"{cell.command} --seed {seed}", monkeypatch) == digest


def test_absolute_paths_of_flags_are_not_published() -> None:
    assert _without_folder("backbone.weights=/home/alice/net.pt") == "backbone.weights=net.pt"
    assert _without_folder("recipe.batch_size=16") == "recipe.batch_size=16"


@pytest.mark.slow
def test_the_command_trains_the_same_run(tmp_path: Path) -> None:
    small = ("--epochs", 2, "--seeds", 1, "--trials", 1, "--set", "select.seeds=[2000]")
    home = tmp_path / "home"
    done = run_command("sweep", "digits", *small, "--engine", "inline", "--home", home)
    assert done.returncode == 0, done.stderr
    (path,) = home.glob("sweeps/*/plan.json")
    *_, cell = json.loads(path.read_text())["cells"]
    assert cell["method"] == "nal"

    words = shlex.split(f"{cell['command']} --seed 0")[3:]
    done = run_command(*words, "--home", "again", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    ((digest, result),) = results(tmp_path / "again").items()
    assert digest == cell["digests"][0]
    assert result["trace"] == results(home)[digest]["trace"]
