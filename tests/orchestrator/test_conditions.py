"""A sweep whose search has choices, integers, conditions and a prior."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from command_line import call_command, results, runs_in_mlflow

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

STUDY = """\
title: targets of NAL
dataset: digits
subset: 200
backbone: {name: mlp, hidden: [16]}
scenarios: [symmetric-0.4]
recipe: {epochs: 4, batch_size: 64, learning_rate: 0.05, window: 2}
methods: [nal]
tune: [nal]
hyperparameters: {nal: {delta: 0.2}}
reference:
  nal: {lambda: 0.5, clamps: true, first_target_epoch: 1}
search:
  trials: 8
  hold_out: 0.3
  space:
    nal:
      lambda: {low: 0.05, high: 20, log: true, prior: {width: 0.2}}
      clamps: {choices: [false, true]}
      first_target_epoch: {low: 1, high: 4}
      delta: {low: 0, high: 0.5, when: {clamps: false, first_target_epoch: [1, 2]}}
select: {candidates: 2, seeds: [2000]}
confirm: {seeds: [0]}
resources: {gpus: 0}
"""


def is_delta_searched(values: dict[str, Any]) -> bool:
    return not values["clamps"] and values["first_target_epoch"] in (1, 2)


def test_conditions_from_the_study_to_the_table(tmp_path: Path) -> None:
    study, home = tmp_path / "targets.yaml", tmp_path / "home"
    study.write_text(STUDY)
    command = ("sweep", study, "--engine", "inline", "--home", home, "--json")
    finished = call_command(*command)
    assert finished.returncode == 0, finished.stderr

    storage = f"sqlite:///{home}/optuna.db"
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    proposed = [trial.params for trial in trials]
    assert len(proposed) == 8
    assert proposed[0] == {"lambda": 0.5, "clamps": True, "first_target_epoch": 1}
    assert {is_delta_searched(values) for values in proposed} == {False, True}
    for values in proposed:
        assert ("delta" in values) == is_delta_searched(values)
        assert (type(values["clamps"]), type(values["first_target_epoch"])) == (bool, int)

    # A run has the value that the study fixes where delta is not searched.
    recorded = results(home)
    for values, trial in zip(proposed, trials, strict=True):
        spec = recorded[trial.user_attrs["digests"][0]]["spec"]["hyperparameters"]
        expected = {"delta": 0.2, **values}
        assert {name: spec[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    runs = runs_in_mlflow(f"sqlite:///{home}/mlflow.db", "run")
    assert len(runs) == len(recorded)
    for run in runs:
        searched = {
            "clamps": run.data.params["clamps"] == "True",
            "first_target_epoch": run.data.metrics["hp/first_target_epoch"],
        }
        assert ("delta=" in run.info.run_name) == is_delta_searched(searched)

    (plan_path,) = (home / "sweeps").glob("*/plan.json")
    plan = json.loads(plan_path.read_text())
    for cell in plan["cells"]:
        assert ("delta" in cell["values"]) == is_delta_searched(cell["values"])
        arguments = shlex.split(cell["command"].removeprefix("python -m orchestrator "))
        again = call_command(*arguments, "--seed", 0, "--home", home, "--json", folder=tmp_path)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["spec"]["hyperparameters"].items() >= cell["values"].items()
    repeated = call_command(*command)
    assert repeated.returncode == 0, repeated.stderr
    assert results(home).keys() == recorded.keys()
