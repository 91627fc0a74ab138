"""Commands in a home whose labels have changed since they were first drawn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command_line import call_command, results

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SHORT = ("digits", "--epochs", 2, "--seeds", 1, "--set", "tune=[]", "--engine", "inline")


def error_line(*arguments: object) -> str:
    """Run a command that is refused, and return its error message."""
    process = call_command(*arguments)
    assert process.returncode == 2, process.stdout + process.stderr
    (line,) = (text for text in process.stderr.splitlines() if text.startswith("error: "))
    return line


def test_a_draw_that_changed_between_two_methods_is_refused(tmp_path: Path) -> None:
    sweep = ("sweep", *SHORT, "--home", tmp_path)
    assert call_command(*sweep, "--methods", "ce").returncode == 0
    (pin,) = (tmp_path / "realisations").iterdir()
    first = json.loads(pin.read_text())
    pin.write_text(json.dumps({**first, "sha256": "f" * 64}))
    line = error_line(*sweep, "--methods", "ce,nal")
    assert "the labels of symmetric-0.4 at noise seed 0 have SHA-256" in line
    assert "but had ffffffffffff when they were first drawn" in line
    assert len(results(tmp_path)) == 1
    pin.write_text(json.dumps(first))
    assert call_command(*sweep, "--methods", "ce,nal").returncode == 0
    assert len(results(tmp_path)) == 2


def test_damaged_class_probabilities_are_refused(tmp_path: Path) -> None:
    train = (
        "train",
        "digits",
        "--scenario",
        "pmd-2-0.35",
        "--epochs",
        12,
        "--home",
        tmp_path,
    )
    assert call_command(*train, "--method", "ce").returncode == 0
    (path,) = tmp_path.glob("runs/*/predictions.npy")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for command in (train, (*train, "--seed", 1)):
        line = error_line(*command, "--method", "nal")
        assert line.startswith(f"error: {path} has SHA-256 ")
        assert "when it was first used" in line
    path.write_bytes(content)
    assert call_command(*train, "--method", "nal").returncode == 0


def test_an_edited_label_file_leaves_recorded_runs_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "data/labels"
    folder.mkdir(parents=True)
    np.save(folder / "mine.npy", np.arange(1437) % 10)
    home = tmp_path / "home"
    train = ("train", "digits", "--scenario", "file-mine", "--epochs", 2, "--home", home)
    command = (*train, "--data-dir", tmp_path / "data", "--method", "ce")
    assert call_command(*command).returncode == 0
    (before,) = results(home).values()
    np.save(folder / "mine.npy", np.arange(1437) % 7)
    assert call_command("sync", "--home", home).returncode == 0
    assert call_command(*command).returncode == 0
    after = results(home)
    assert len(after) == 2
    assert before in after.values()
    assert len({run["labels"]["sha256"] for run in after.values()}) == 2


def test_a_home_in_another_format_is_refused(tmp_path: Path) -> None:
    assert call_command("noise", "digits", "--home", tmp_path).returncode == 0
    (tmp_path / "format").write_text("0")
    for arguments in (
        ("sweep", "digits"),
        ("sweep", "digits", "--dry-run"),
        ("train", "digits"),
        ("noise", "digits"),
        *(("report",), ("sync",), ("ui",), ("suspects", "abc")),
    ):
        assert (
            "was written by another version of this program (format 0, expected 1)"
            in error_line(*arguments, "--home", tmp_path)
        )
