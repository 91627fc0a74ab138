from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from orchestrator.checkup import machine
from orchestrator.checkup.machine import (
    check_determinism,
    check_devices,
    check_versions,
    first_difference,
)

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec
    from trainables.training.job import Row

TRACE: list[Row] = [
    {"epoch": 1.0, "train/loss": 0.5, "val/accuracy": 0.25},
    {"epoch": 2.0, "train/loss": math.nan, "val/accuracy": 0.5},
]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ([dict(row) for row in TRACE], ""),
        (
            [TRACE[0], {**TRACE[1], "val/accuracy": 0.5000001}],
            "epoch 2, val/accuracy: 0.5 and 0.5000001",
        ),
        ([{**TRACE[0], "test/accuracy": 1.0}], "epoch 1, test/accuracy: None and 1.0"),
        (TRACE[:1], "2 and 1 epochs"),
    ],
)
def test_the_first_difference_of_two_traces_is_named(other: list[Row], difference: str) -> None:
    assert first_difference(TRACE, other) == difference


def test_versions_are_named() -> None:
    check = check_versions()
    assert check.level == "ok"
    for name in ("python 3.", "torch ", "ray ", "optuna ", "MLflow 3.", "commit "):
        assert name in check.text


def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "package_versions", lambda: {"python": "3", "ray": "absent"})
    check = check_versions()
    assert check.level == "problem"
    assert check.advice.startswith("install ray: ")


def test_devices_are_named() -> None:
    assert "usable CPU" in check_devices().text


def fake_trainings(monkeypatch: pytest.MonkeyPatch, *traces: list[Row]) -> list[RunSpec]:
    """Replace the two processes by traces; return the specs that they are asked to train."""
    specs: list[RunSpec] = []

    def train(spec: RunSpec, _gpus: float) -> tuple[str, list[Row]]:
        specs.append(spec)
        return "cpu: AVX2", traces[len(specs) - 1]

    monkeypatch.setattr(machine, "_train", train)
    monkeypatch.setattr(machine, "gpu_description", lambda: "")
    return specs


def test_a_run_that_repeats_is_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = fake_trainings(monkeypatch, TRACE, [dict(row) for row in TRACE])
    (check,) = check_determinism(tmp_path)
    assert (check.name, check.level) == ("bits on CPU", "ok")
    assert "the same bits (cpu: AVX2, 1 thread)" in check.text
    assert specs[0].digest == specs[1].digest
    assert (specs[0].method, specs[0].recipe.epochs) == ("nal", 3)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_does_not_repeat_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_trainings(monkeypatch, TRACE, [{**TRACE[0], "train/loss": 0.75}, TRACE[1]])
    (check,) = check_determinism(tmp_path)
    assert check.level == "problem"
    assert check.text == "two processes differ on cpu: AVX2: epoch 1, train/loss: 0.5 and 0.75"
    assert "cannot be repeated" in check.advice


def test_a_process_that_fails_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpu_description", lambda: "")
    monkeypatch.setattr(
        machine, "module_command", lambda _: ["sh", "-c", "echo no torch >&2; exit 1"]
    )
    (check,) = check_determinism(tmp_path)
    assert (check.level, check.text) == ("problem", "a small run cannot be trained: no torch")
