from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from factories import make_result

from orchestrator.reproduction import code
from orchestrator.reproduction.code import REQUIRED_FILE, copy_code
from trainables.reproduction.recorded import RecordedRun

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("orchestrator", "reports", "search_spaces", "trainables")


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of which the installed version has changed since its commit."""
    folder = tmp_path / "checkout"
    for name in (*(f"{package}/__init__.py" for package in PACKAGES), REQUIRED_FILE):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("recorded\n")
    for name in ("pyproject.toml", "LICENSE"):
        (folder / name).write_text("recorded\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    (folder / REQUIRED_FILE).write_text("installed\n")
    (folder / "trainables" / "__pycache__").mkdir()
    monkeypatch.setattr(code, "PACKAGE_ROOT", str(folder))
    monkeypatch.setattr(code, "code_provenance", lambda: {"commit": "4567", "dirty": "yes"})
    return folder


def run_of(commit: str, dirty: str = "no") -> RecordedRun:
    environment = {"commit": commit, "dirty": dirty}
    return RecordedRun(make_result(), is_altered=False, environment=environment, is_need=False)


def test_the_recorded_commit_is_copied(checkout: Path, tmp_path: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    text = copy_code([run_of(commit)], tmp_path / "code")
    assert text == f"the code of commit {commit}, with which the runs were recorded"
    assert (tmp_path / "code" / REQUIRED_FILE).read_text() == "recorded\n"
    assert sorted(path.name for path in (tmp_path / "code").iterdir()) == sorted(
        [*PACKAGES, "pyproject.toml", "LICENSE"]
    )


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([run_of("f" * 40)], "could not be read"),
        ([run_of("f" * 40, "yes")], "had uncommitted changes"),
        ([run_of("f" * 40), run_of("e" * 40)], "could not be read"),
    ],
    ids=["unknown", "changed", "several"],
)
def test_the_installed_code_is_copied_otherwise(
    checkout: Path, tmp_path: Path, runs: list[RecordedRun], reason: str
) -> None:
    text = copy_code(runs, tmp_path / "code")
    assert text.startswith(
        "the code that was installed when this bundle was written (commit 4567, with uncommitted "
        "changes), of revision"
    )
    assert text.endswith(reason)
    assert (tmp_path / "code" / REQUIRED_FILE).read_text() == "installed\n"
    assert (tmp_path / "code" / "LICENSE").exists()
    assert not (tmp_path / "code" / "trainables" / "__pycache__").exists()
    assert checkout.exists()


def test_a_commit_that_cannot_train_again_is_not_used(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "rm", "-qf", REQUIRED_FILE)
    git(checkout, "commit", "-qm", "earlier")
    (checkout / "trainables" / "reproduction").mkdir()
    (checkout / REQUIRED_FILE).write_text("installed\n")
    text = copy_code([run_of(git(checkout, "rev-parse", "HEAD"))], tmp_path / "code")
    assert text.endswith("could not be read")
    assert (tmp_path / "code" / REQUIRED_FILE).exists()
