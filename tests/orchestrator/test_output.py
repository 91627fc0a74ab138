"""Texts of the user's in the output of the commands."""

from __future__ import annotations

import ast
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import call_command
from PIL import Image
from rich.text import Text

from orchestrator.output import CommandConsole, facts_table

if TYPE_CHECKING:
    from collections.abc import Callable

ORCHESTRATOR = Path(__file__).parents[2] / "orchestrator"
ODD_TEXT = "[bold]a[/b] [/] [red :smile:"
"""A text with markup, unbalanced markup and an emoji code of rich."""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs a command in the temporary folder and returns its output."""

    def output(*words: object) -> str:
        process = call_command(*words, folder=tmp_path)
        assert process.returncode == 0, process.stderr
        return process.stdout

    return output


def test_a_command_console_prints_literally(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = CommandConsole()
    console.print(ODD_TEXT)
    console.print(facts_table([("name", ODD_TEXT)]))
    with console.status(ODD_TEXT) as status:
        console.print(status.renderable)
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert console.input(f"{ODD_TEXT}?") == "yes"
    assert capsys.readouterr().out.count(ODD_TEXT) == 4


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_control_character_of_a_name_reaches_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR" if is_terminal else "NO_COLOR", "1")
    name = "ant\x1b[2J\x9b31m\u202e"
    for stderr in (False, True):
        console = CommandConsole(stderr=stderr)
        assert console.is_terminal is is_terminal
        console.print(name)
        console.print(Text(name, style="bold"), soft_wrap=True)
        console.print(facts_table([(name, name)]))
    printed = "".join(capsys.readouterr())
    assert printed.count(r"ant\x1b[2J\x9b31m\u202e") == 8
    assert not {"\x9b", "\u202e"} & set(printed)
    assert "\x1b[2J" not in printed


@pytest.mark.usefixtures("known_cost")
@pytest.mark.parametrize("command", [("show",), ("sweep", "--dry-run")], ids=" ".join)
def test_the_title_of_a_study_is_printed_literally(
    command: tuple[str, ...], run: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "odd.yaml").write_text(f"extends: digits\ntitle: '{ODD_TEXT}'\n")
    assert ODD_TEXT in run(*command, "odd.yaml")


def test_class_folders_are_printed_literally(run: Callable[..., str], tmp_path: Path) -> None:
    names = ("[bold]ant", "[", ":bee:")
    for number, name in enumerate(names):
        for split in ("train", "test"):
            folder = tmp_path / "[red]data" / split / name
            folder.mkdir(parents=True)
            for copy in range(4):
                picture = Image.new("L", (8, 8), color=10 * number + copy)
                picture.save(folder / f"[b]{copy}.png")
    (tmp_path / "odd.yaml").write_text(
        f"extends: digits\ntitle: '{ODD_TEXT}'\ndataset: folder\nscenarios: [symmetric-0.4]\n"
        "recipe: {epochs: 1, batch_size: 4}\nmethods: [ce]\n"
    )
    data_dir = ("--data-dir", "[red]data")
    checked = run("data", "check", "folder", *data_dir)
    drawn = run("noise", "odd.yaml", *data_dir)
    assert f"data folder {tmp_path}/[red]data" in checked
    for name in names:
        assert name in checked
        assert name in drawn


def test_every_command_prints_to_a_command_console() -> None:
    calls = [
        (path.name, node)
        for path in sorted(ORCHESTRATOR.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    consoles = [name for name, call in calls if getattr(call.func, "id", "") == "Console"]
    assert not consoles
    columns = [
        ast.unparse(call) for _, call in calls if getattr(call.func, "id", "") == "TextColumn"
    ]
    templates = [column for column in columns if "{" in column]
    assert templates
    assert [column for column in templates if "markup=False" not in column] == []
