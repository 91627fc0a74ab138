"""Output of every command to a pipe, whose lines are neither broken nor padded."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.__main__ import main
from orchestrator.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Print = Callable[..., str]

SWEEP = (
    *("sweep", "digits", "--engine", "inline", "--epochs", "2", "--trials", "2", "--seeds", "1"),
    *("--methods", "nal,ce", "--set", "select.seeds=[2000]"),
)
TRAIN = ("train", "digits", "--method", "ce", "--epochs", "2")
COMMANDS = {
    "sweep": SWEEP,
    "sweep --dry-run": (*SWEEP, "--dry-run"),
    "train": TRAIN,
    "report": ("report",),
    "suspects": ("suspects", "DIGEST", "--out", "sheet"),
    "predict": ("predict", "DIGEST", "images.npy"),
    "export": ("export", "DIGEST", "model.pt2"),
    "sync": ("sync",),
    "status": ("status",),
    "logs": ("logs", "DIGEST"),
    "noise": ("noise", "digits"),
    "studies": ("studies",),
    "show": ("show", "digits"),
    "data list": ("data", "list"),
    "data check": ("data", "check", "digits"),
    "data prepare": ("data", "prepare", "digits"),
    "sweeps list": ("sweeps", "list"),
}
"""Arguments of each command except those in `UNLISTED`."""
UNLISTED = frozenset({"ui", "doctor", "reproduce", "bundle"})
"""Names of the commands that do not end, measure or train anew, or write a folder."""


@pytest.fixture
def printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Print:
    """Return a function that returns what a command prints to a pipe, in `columns` columns.

    Durations and repeated spaces are left out, since `sweep --dry-run` measures times anew.
    """
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        home = () if arguments[0] in {"studies", "show"} else ("--home", "home")
        monkeypatch.setattr(sys, "argv", ["orchestrator", *arguments, *home])
        with pytest.raises(SystemExit) as end:
            main()
        output = capsys.readouterr()
        assert end.value.code == 0, output.err
        return re.sub(r" *[\d.]+ (s|min|h)\b| +", " ", output.out)

    return run


def test_every_command_is_listed() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    assert {name.split()[0] for name in COMMANDS} == names - UNLISTED | {"data", "sweeps"}


@pytest.mark.usefixtures("known_cost")
@pytest.mark.parametrize(
    "command", ["studies", "show", "noise", "data list", "data check", "sweep --dry-run"]
)
def test_no_line_in_a_pipe_ends_in_a_blank(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = () if command in {"studies", "show"} else ("--home", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["orchestrator", *COMMANDS[command], *home])
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.slow
def test_no_command_breaks_lines_in_a_pipe(printed: Print, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((2, 1, 8, 8), np.uint8))
    printed(*SWEEP, columns=80)
    result = json.loads(printed(*TRAIN, "--json", columns=80))
    words = {"DIGEST": result["digest"]}
    for arguments in COMMANDS.values():
        command = [words.get(word, word) for word in arguments]
        narrow = printed(*command, columns=30)
        assert narrow == printed(*command, columns=300), command
    facts = dict(line.split(maxsplit=1) for line in printed(*TRAIN, columns=30).splitlines()[1:3])
    assert facts["run"].strip() == result["digest"]
