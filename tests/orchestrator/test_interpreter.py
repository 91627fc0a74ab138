"""Nothing beside a study is taken for an installed module or package."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from command_line import run_command

from orchestrator import interpreter

if TYPE_CHECKING:
    from pathlib import Path

MARKER = "from pathlib import Path\nPath({!r}).touch()\n"


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Path of a file that exists once something beside the study has been executed."""
    folder = tmp_path / "study"
    metadata = folder / "evil-1.0.dist-info"
    metadata.mkdir(parents=True)
    path = tmp_path / "executed"
    for module in ("numpy", "typer", "yaml", "evil", "reports", "trainables"):
        (folder / f"{module}.py").write_text(MARKER.format(str(path)))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[nal_orchestrator.methods]\nsmooth = evil:Smooth\n")
    (folder / "study.yaml").write_text("extends: digits\nmethods: [ce, smooth]\ntune: []\n")
    return path


def test_a_module_beside_a_study_is_not_imported(marker: Path) -> None:
    process = run_command("show", "digits", folder=marker.parent / "study")
    assert process.returncode == 0, process.stderr
    assert not marker.exists()


def test_a_package_beside_a_study_declares_nothing(marker: Path) -> None:
    process = run_command("show", "study.yaml", folder=marker.parent / "study")
    assert process.returncode == 2
    assert process.stderr.startswith("error: study.yaml:2: methods: unknown method 'smooth': known")
    assert not marker.exists()


@pytest.mark.slow
def test_a_process_that_measures_a_step_imports_nothing_from_there(marker: Path) -> None:
    folder = marker.parent / "study"
    process = run_command("sweep", "digits", "--dry-run", folder=folder)
    assert process.returncode == 0, process.stderr
    assert not marker.exists()


@pytest.mark.slow
def test_workers_of_ray_import_nothing_from_there(marker: Path) -> None:
    folder = marker.parent / "study"
    words = ("sweep", "digits", "--methods", "ce", "--set", "tune=[]", "--epochs", "2")
    process = run_command(*words, "--seeds", "1", "--home", "../runs", folder=folder)
    assert process.returncode == 0, process.stderr
    assert not marker.exists()


def test_the_working_directory_is_excluded_unless_the_package_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "elsewhere"])
    interpreter.exclude_working_directory()
    assert sys.path == ["elsewhere"]
    assert interpreter.module_command("mlflow", "server")[1:] == ["-P", "-m", "mlflow", "server"]
    monkeypatch.chdir(interpreter.PACKAGE_ROOT)
    monkeypatch.setattr(sys, "path", [interpreter.PACKAGE_ROOT])
    interpreter.exclude_working_directory()
    assert sys.path == [interpreter.PACKAGE_ROOT]
    assert interpreter.module_command("mlflow")[1:] == ["-m", "mlflow"]
