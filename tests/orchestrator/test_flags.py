from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands import sweep as sweep_command
from orchestrator.flags import DEFAULT_HOME, StudyFlags
from search_spaces.resolve import matched_recipe, resolve
from trainables.errors import StudyError


def typed(monkeypatch: pytest.MonkeyPatch, command: str) -> StudyFlags:
    """What the command line makes of a command."""
    seen: list[StudyFlags] = []

    def note(flags: StudyFlags, **_: Any) -> int:
        seen.append(flags)
        return 0

    monkeypatch.setattr(sweep_command, "run", note)
    program, *words = shlex.split(command)[2:]
    assert program == "orchestrator"
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return seen[0]


ALL = StudyFlags(
    study="my studies/one.yaml",
    trials=7,
    epochs=30,
    seeds=4,
    scenarios=("clean", "symmetric-0.4"),
    methods=("nal", "ce"),
    subset=500,
    sets=("recipe.window=5", "search.space.nal.lambda={low: 0.1, high: 5, log: true}"),
    data_dir=Path("my data"),
    home=Path("other home"),
    ray_address="10.0.0.1:6379",
    tracking_uri="http://127.0.0.1:5000",
)


@pytest.mark.parametrize("flags", [StudyFlags(study="digits"), ALL], ids=["none", "all"])
def test_a_command_says_what_its_flags_say(
    flags: StudyFlags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert typed(monkeypatch, flags.command()) == flags


def test_a_usual_command_is_short() -> None:
    assert StudyFlags(study="digits", trials=8).command() == (
        "python -m orchestrator sweep digits --trials 8"
    )


def test_methods_may_be_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    command = "python -m orchestrator sweep digits --methods 'nal, ce'"
    assert typed(monkeypatch, command).methods == ("nal", "ce")


def test_flags_change_the_study() -> None:
    flags = StudyFlags(
        study="digits",
        trials=5,
        seeds=2,
        scenarios=("clean",),
        methods=("nal",),
        subset=500,
        sets=("recipe.batch_size=32", "search.seed=77"),
    )
    loaded = flags.load()
    study = loaded.study
    assert (study.search.trials, study.search.seed) == (5, 77)
    assert study.confirm.seeds == (0, 1)
    assert study.scenarios == ("clean",)
    assert study.search.scenario == "clean"
    assert study.methods == ("nal",)
    assert study.subset == 500
    assert matched_recipe(study).batch_size == 32
    assert loaded.sources["search.trials"] == "set by --trials"


def test_epochs_scale_what_counts_epochs() -> None:
    study = StudyFlags(study="digits", epochs=30).load().study
    assert matched_recipe(study).epochs == 30
    assert matched_recipe(study).window == 5
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters["first_target_epoch"] == 5


def test_what_a_flag_sets_is_not_scaled() -> None:
    flags = StudyFlags(study="digits", epochs=30, sets=("recipe.window=8",))
    assert matched_recipe(flags.load().study).window == 8


@pytest.mark.parametrize("seeds", [0, -1])
def test_at_least_one_seed(seeds: int) -> None:
    with pytest.raises(StudyError, match=f"--seeds: must be at least 1, got {seeds}"):
        StudyFlags(study="digits", seeds=seeds).load()


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    flags = StudyFlags(study="digits")
    assert flags.home == DEFAULT_HOME
    assert flags.paths.path == tmp_path / "runs"
    assert flags.data == tmp_path / "runs" / "data"
    elsewhere = StudyFlags(study="digits", home=Path("~/h"), data_dir=Path("d"))
    assert elsewhere.paths.path == tmp_path / "h"
    assert elsewhere.data == tmp_path / "d"
