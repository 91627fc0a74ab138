"""Code of a study is executed only if the user says so: in a terminal once, or by a flag."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from command_line import CHECKOUT
from outside_code import DATA, FILES, LOSS, code_file, side_effect

from orchestrator.approval import is_allowed, permission_folder

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 120.0
QUESTION = "Execute the file? [y/N]"
STUDY = """\
extends: digits
methods: [ce, my_loss.py:LabelSmoothing]
tune: null
reference: null
hyperparameters: {nal: null}
search: {space: null}
"""
WITHOUT_PROBE = """\
import sys
from orchestrator.__main__ import main
from orchestrator.planning import cost
cost._measure_in_subprocess = lambda *_: cost.Cost(
    step_seconds=0.001,
    evaluation_seconds=1e-6,
    checkpoint_bytes=10**6,
    start_seconds=1.75,
    device="cpu",
)
main()
"""


class User:
    """A user with a folder of files, a state folder and a terminal.

    Attributes:
        folder: folder with the study `mine.yaml` and its files.
        state: the user's state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder / "mine", folder / "state"
        self._marker = folder / "marker"
        self.folder.mkdir()
        (self.folder / "mine.yaml").write_text(STUDY)
        for name in ("my_loss.py", "my_data.py"):
            self.change(name)

    def change(self, name: str, end: str = "") -> None:
        """Write a file, with an end of its own."""
        (self.folder / name).write_text(FILES[name] + end + side_effect(self._marker, name))

    def executed(self) -> list[str]:
        """Return the files that were executed since the last call."""
        text = self._marker.read_text() if self._marker.exists() else ""
        self._marker.unlink(missing_ok=True)
        return sorted(set(text.split()))

    def remembered(self) -> set[str]:
        """Return the SHA-256 of the files that were allowed."""
        folder = self.state / "nal-orchestrator" / "allowed-code"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file."""
        return code_file((self.folder / name).read_bytes()).sha256

    def _arguments(self, words: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "COLUMNS": "200"}
        environment |= {"XDG_STATE_HOME": str(self.state), "TERM": "dumb"}
        return [sys.executable, "-c", WITHOUT_PROBE, *words], environment

    def type_without_terminal(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Carry out a command whose input is no terminal."""
        arguments, environment = self._arguments(words)
        return subprocess.run(
            arguments,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    def type(self, *words: str, answer: str = "") -> tuple[int, str]:
        """Carry out a command in a terminal.

        Args:
            words: the command.
            answer: keys typed each time the question is shown; "" if it must not be shown.

        Returns:
            The exit code, and what the terminal showed.
        """
        arguments, environment = self._arguments(words)
        master, slave = pty.openpty()
        process = subprocess.Popen(
            arguments,
            cwd=self.folder,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        shown, answers = "", 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(master, 4096)
            except OSError:  # the process has closed the terminal
                data = b""
            if not data:
                break
            shown += data.decode(errors="replace")
            if shown.count(QUESTION) > answers:
                assert answer, shown
                answers += 1
                os.write(master, answer.encode())
        else:
            process.kill()
        os.close(master)
        return process.wait(PATIENCE_SECONDS), shown


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


COMMANDS = {
    "show": (("show", "mine.yaml"), "my_loss.py"),
    "dry run": (("sweep", "mine.yaml", "--dry-run"), "my_loss.py"),
    "data check": (("data", "check", "my_data.py:Blobs"), "my_data.py"),
}
EVERY_COMMAND = pytest.mark.parametrize(("words", "file"), COMMANDS.values(), ids=COMMANDS)


@pytest.mark.slow
@EVERY_COMMAND
def test_the_user_is_asked_once(user: User, words: tuple[str, ...], file: str) -> None:
    code, shown = user.type(*words, answer="n\n")
    assert code == 2, shown
    for part in (str(user.folder / file), f"SHA-256 {user.sha256(file)}"):
        assert part in shown
    assert shown.count(QUESTION) == 1
    last = shown.strip().splitlines()[-1]
    assert "error: " in last
    assert last.endswith("has not been allowed: read the file, then add --allow-code")
    assert (user.executed(), user.remembered()) == ([], set())

    code, shown = user.type(*words, answer="y\n")
    assert code == 0, shown
    assert shown.count(QUESTION) == 1
    assert user.executed() == [file]
    assert user.remembered() == {user.sha256(file)}

    code, shown = user.type(*words)
    assert code == 0, shown
    assert user.executed() == [file]

    before = user.sha256(file)
    user.change(file, "# changed\n")
    code, shown = user.type(*words, answer="\n")
    assert code == 2, shown
    assert f"SHA-256 {user.sha256(file)}" in shown
    assert (user.executed(), user.remembered()) == ([], {before})


@pytest.mark.slow
@EVERY_COMMAND
def test_without_a_terminal_a_flag_is_needed(user: User, words: tuple[str, ...], file: str) -> None:
    refused = user.type_without_terminal(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.endswith(
        f"the code in {user.folder / file} (SHA-256 {user.sha256(file)}) would be executed, but "
        "has not been allowed: read the file, then add --allow-code\n"
    )
    assert refused.stderr.count("\n") == 1
    assert (user.executed(), user.remembered()) == ([], set())

    done = user.type_without_terminal(*words, "--allow-code")
    assert done.returncode == 0, done.stderr
    assert (user.executed(), user.remembered()) == ([file], {user.sha256(file)})
    done = user.type_without_terminal(*words)
    assert done.returncode == 0, done.stderr
    assert user.executed() == [file]


@pytest.mark.slow
def test_the_end_of_the_input_is_no(user: User) -> None:
    code, shown = user.type("show", "mine.yaml", answer="\x04")
    assert code == 2, shown
    assert "Traceback" not in shown
    assert (user.executed(), user.remembered()) == ([], set())


@pytest.mark.slow
def test_each_new_file_is_asked_for(user: User) -> None:
    with (user.folder / "mine.yaml").open("a") as file:
        file.write("dataset: my_data.py:Blobs\nbackbone: {name: mlp, hidden: [8]}\n")
    code, shown = user.type("show", "mine.yaml", answer="y\n")
    assert code == 0, shown
    assert shown.count(QUESTION) == 2
    assert user.executed() == ["my_data.py", "my_loss.py"]
    assert len(user.remembered()) == 2


@pytest.mark.slow
def test_a_state_folder_that_cannot_be_written_is_only_a_warning(user: User) -> None:
    user.state.write_text("")
    for words in (("show", "mine.yaml"), ("sweep", "mine.yaml", "--dry-run")):
        done = user.type_without_terminal(*words, "--allow-code")
        assert done.returncode == 0, done.stderr
        folder = user.state / "nal-orchestrator" / "allowed-code"
        warning = (
            f"the permission to execute {user.folder}/my_loss.py cannot be saved in {folder} "
            "(Not a directory): you will be asked again next time\n"
        )
        assert done.stderr.count(warning) == 1
        assert user.executed() == ["my_loss.py"]
    code, shown = user.type("show", "mine.yaml", answer="y\n")
    assert code == 0, shown
    assert shown.count(QUESTION) == 1


# In this process


def test_what_was_allowed_is_remembered_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = code_file(LOSS, "a/my_loss.py")
    assert not is_allowed(file)
    assert is_allowed(file, allow_code=True)
    assert is_allowed(code_file(LOSS, "b/other.py"))
    assert not is_allowed(code_file(LOSS + "#", "a/my_loss.py"))
    assert not is_allowed(code_file(DATA))


@pytest.mark.parametrize("keys", ["y\n", "Yes\n", "n\n", "yikes\n", "\n", "\x04"])
def test_answers(keys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = keys in ("y\n", "Yes\n")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    master, slave = pty.openpty()
    os.write(master, keys.encode())
    file = code_file(LOSS, "/somewhere/my_loss.py")
    with os.fdopen(slave, "r") as stdin, os.fdopen(os.dup(slave), "w") as stderr:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stderr", stderr)
        assert is_allowed(file) is allowed
        monkeypatch.undo()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert is_allowed(file) is allowed
    os.close(master)


@pytest.mark.parametrize("value", [None, "", "state"])
def test_the_state_folder_is_absolute(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if value is None:
        monkeypatch.delenv("XDG_STATE_HOME")
    else:
        monkeypatch.setenv("XDG_STATE_HOME", value)
    expected = tmp_path / ".local" / "state" / "nal-orchestrator" / "allowed-code"
    assert permission_folder() == expected
