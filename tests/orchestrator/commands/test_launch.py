"""The command `launch slurm`: what it writes, and what it refuses before it writes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from command_line import call_command

from orchestrator.commands import launch

if TYPE_CHECKING:
    from pathlib import Path

URI = "postgresql://me:hunter2@host/db"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder that does not exist yet."""
    return tmp_path / "home"


def put_sbatch(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a script in place of sbatch, or leave the machine without one if it is empty."""
    if script:
        (folder / "sbatch").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def launched(home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return call_command("launch", "slurm", "digits", "--home", home, *words)


def test_the_script_is_private_and_has_what_was_asked_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_sbatch(tmp_path, monkeypatch, "")
    process = launched(
        home,
        *("--nodes", 2, "--gpus", 4, "--mem", "32G", "--time", "1-00", "--partition", "gpu"),
        *("--account", "me", "--sbatch", "constraint=a100", "--sbatch", "signal=B:USR1@300"),
        *("--trials", 3, "--set", "title=it's", "--set", "resources.gpus=0.5", "--json"),
    )
    assert process.returncode == 0, process.stderr
    path = home / "slurm" / "digits.sbatch"
    assert json.loads(process.stdout) == {"script": str(path), "job": None}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    script = path.read_text()
    options = [line.split(" ", 1)[1] for line in script.splitlines() if line.startswith("#SBATCH")]
    assert options == [
        "--job-name=nal-digits",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--cpus-per-task=8",
        "--mem=32G",
        "--time=1-00",
        "--partition=gpu",
        "--account=me",
        "--gpus-per-node=4",
        "--signal=B:USR1@300",
        "--open-mode=append",
        f"--output={home}/slurm/digits-%j.log",
        "--requeue",
        "--constraint=a100",
    ]
    changes = """--set 'title=it'"'"'s' --set resources.gpus=0.5"""
    assert f"sweep digits --trials 3 {changes} --home {home} --yes)" in script
    assert "Slurm has not checked the script" in process.stderr
    assert subprocess.run(["/bin/bash", "-n", path], check=False).returncode == 0


def test_a_script_that_was_edited_is_kept(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "job.sbatch"
    assert launched(home, "--out", path).returncode == 0
    assert "is kept as" not in launched(home, "--out", path).stderr
    edited = f"{path.read_text()}# my own line\n"
    path.write_text(edited)
    assert f"is kept as {path}.previous" in launched(home, "--out", path).stdout
    assert path.with_name("job.sbatch.previous").read_text() == edited
    assert "my own line" not in path.read_text()


@pytest.mark.parametrize("uri", [URI, "postgresql:///db?host=/run&password=hunter2"])
def test_a_password_is_not_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    put_sbatch(tmp_path, monkeypatch, "")
    refused = launched(home, "--tracking-uri", uri)
    assert refused.returncode == 2
    assert "set the environment variable MLFLOW_TRACKING_URI to the URI" in refused.stderr
    assert "hunter2" not in refused.stderr
    refused = launched(home, "--search-storage", "postgresql://me:hunter2@host/searches")
    assert refused.returncode == 2
    assert "keep it in ~/.pgpass" in refused.stderr
    assert "hunter2" not in refused.stderr
    assert not home.exists()


def test_a_uri_with_a_password_is_inherited_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orchestrator.flags import Locations

    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    assert list(launch._check_tracking_uri(Locations(tracking_uri=URI))) == ["MLFLOW_TRACKING_URI"]
    assert launch._check_tracking_uri(Locations(tracking_uri="http://host:5000")) == {}
    assert launch._check_tracking_uri(Locations()) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--submit"], "error: sbatch was not found: type the command on a machine from which"),
        (["--cpus", 1, "--set", "resources.cpus=2"], "error: --cpus 1: one run requires"),
        (["--gpus", 1], "error: --gpus 1: the runs of this study use no GPU"),
        (["--sbatch", "array=1"], "error: --sbatch array=1: this option cannot be chosen"),
        (["--sbatch", "foo=bar"], "error: --sbatch foo: sbatch has no such option: "),
        (["--sbatch", "requeue=no"], "error: --sbatch requeue=no: this option has no value"),
        (["--sbatch", "time=foo"], "error: --sbatch time=foo: write MINUTES"),
        (["--time", "foo"], "error: --time foo: write MINUTES, MINUTES:SECONDS"),
        (["--grace", 65536], "error: Invalid value for '--grace': Input should be less than"),
        (["--mem", "much"], "error: --mem much: write a whole number of megabytes"),
        (["--tracking-uri", "foo"], "error: tracking URI 'foo': MLflow no longer stores"),
        (["--tracking-uri", "http://"], "error: tracking URI 'http://': no host"),
        (["--search-storage", "foo"], "error: --search-storage: not the URL of a database"),
        (["--search-storage", "mysql://h/d"], "error: --search-storage: searches cannot be stored"),
        (["--trials", -1], "error: --trials"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[object],
    message: str,
) -> None:
    put_sbatch(tmp_path, monkeypatch, "")
    process = launched(home, *words)
    assert process.returncode == 2
    assert process.stderr.startswith(message)
    assert process.stderr.count("\n") == 1
    assert not home.exists()


def test_an_option_of_a_plug_in_is_left_to_slurm(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_sbatch(tmp_path, monkeypatch, "exit 0")
    assert launched(home, "--sbatch", "foo=bar").returncode == 0


def test_a_study_that_does_not_exist_is_named(home: Path) -> None:
    process = call_command("launch", "slurm", "digitz", "--home", home)
    assert process.returncode == 2
    assert "did you mean 'digits'?" in process.stderr
    assert not home.exists()


def test_a_submitted_script_is_the_one_that_was_checked(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_sbatch(
        tmp_path,
        monkeypatch,
        f'/bin/cat > "{tmp_path}/text.$1"; [ "$1" = --test-only ] || echo "42;c"',
    )
    process = launched(home, "--submit")
    assert process.returncode == 0, process.stderr
    assert f"job 42 is submitted; its output: {home}/slurm/digits-42.log" in process.stdout
    script = (home / "slurm" / "digits.sbatch").read_text()
    for call in ("--test-only", "--parsable"):
        assert (tmp_path / f"text.{call}").read_text() == script


def test_an_old_ray_is_refused(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(launch, "version", lambda _: "2.49.2")
    process = launched(home)
    assert process.returncode == 2
    assert "Ray 2.49.2 admits everybody" in process.stderr
