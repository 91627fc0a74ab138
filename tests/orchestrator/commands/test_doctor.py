from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from command_line import call_command

from orchestrator.checkup.check import Check
from orchestrator.commands import doctor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def _repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_determinism", lambda _: [Check("bits", "ok", "the same")])


@pytest.mark.usefixtures("_repeats")
def test_each_check_is_a_line(tmp_path: Path) -> None:
    done = call_command("doctor", "--home", tmp_path / "home")
    assert done.returncode == 0, done.stdout
    names = [line[:10].strip() for line in done.stdout.splitlines()[1:]]
    assert names == ["versions", "devices", "bits", "disk", "data", "MLflow"]
    assert list(tmp_path.iterdir()) == []
    steps = done.stderr.splitlines()
    assert steps[2].startswith("training a small run in two processes, one after the other")
    assert len(steps) == 9


@pytest.mark.usefixtures("_repeats")
def test_a_problem_has_advice_and_an_exit_code(tmp_path: Path) -> None:
    done = call_command(
        *("doctor", "--home", tmp_path, "--json"),
        *("--ray-address", "nowhere", "--tracking-uri", "http://127.0.0.1:1"),
    )
    assert done.returncode == 1
    checks = {check.pop("name"): check for check in json.loads(done.stdout)}
    assert all(check.keys() == {"level", "text", "advice"} for check in checks.values())
    assert checks["Ray cluster"]["level"] == checks["MLflow"]["level"] == "problem"
    assert "write HOST:PORT" in checks["Ray cluster"]["text"]
    assert checks["disk"]["level"] == "warning"
    assert "is no home folder yet" in checks["disk"]["text"]


@pytest.mark.usefixtures("_repeats")
def test_texts_have_no_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check("data", "warning", "a \x1b[31mname", "[bold]mend")
    monkeypatch.setattr(doctor, "check_datasets", lambda *_: [check])
    done = call_command("doctor", "--home", tmp_path)
    assert "a [31mname: [bold]mend" in done.stdout
    assert done.returncode == 0


@pytest.mark.slow
def test_this_machine_computes_the_same_in_two_processes(tmp_path: Path) -> None:
    done = call_command("doctor", "--home", tmp_path, "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["bits on CPU"]["level"] == "ok", checks
    text = checks["bits on CPU"]["text"]
    assert "a run of 3 epochs, trained in two processes, gave the same bits (cpu: " in text
    assert done.returncode == 0
