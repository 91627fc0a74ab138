"""The job script: its syntax, its quotes, and what it says before Ray is started."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from orchestrator.engine.temp_dirs import TEMP_FOLDER_PREFIX
from orchestrator.launching.slurm_script import SweepCommand, slurm_script

if TYPE_CHECKING:
    from pathlib import Path

NASTY = 'a\'b "c" $(touch injected) `touch injected` %j'
"""A name with everything that shells and Slurm interpret."""


def script_of(folder: Path, home: Path, **variables: str) -> str:
    command = SweepCommand(
        python="/usr/bin/python",
        is_safe=True,
        arguments=["sweep", NASTY, "--home", str(home), "--yes"],
        folder=folder,
        home=home,
        required_variables=variables,
    )
    return slurm_script({"job-name": NASTY, "cpus-per-task": "2", "requeue": ""}, command)


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7"}
    return subprocess.run(
        ["bash"],
        input=script,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_is_valid_and_executes_nothing_that_is_quoted(tmp_path: Path) -> None:
    home = tmp_path / NASTY
    script = script_of(tmp_path, home)
    checked = subprocess.run(["bash", "-n"], input=script, text=True, check=False)
    assert checked.returncode == 0
    ended = run(script, tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.endswith(
        f"cannot read --home {home}: choose a folder that all nodes share\n"
    )
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    arguments = script.split("sweep=(")[1].split("\nexport python")[0].removesuffix(")")
    words = run(f"printf '%s\\n' {arguments}", tmp_path).stdout.splitlines()
    assert words == [
        *("/usr/bin/python", "-P", "-m", "orchestrator"),
        *("sweep", NASTY, "--home", str(home), "--yes"),
    ]


def test_a_missing_folder_or_variable_ends_the_job_in_one_line(tmp_path: Path) -> None:
    lost = run(script_of(tmp_path / "lost", tmp_path), tmp_path)
    assert lost.returncode == 2
    assert lost.stderr.splitlines()[-1].endswith("submit from a shared folder")
    without = run(script_of(tmp_path, tmp_path, STORE_URI="the URI"), tmp_path)
    assert (without.returncode, without.stderr) == (
        2,
        "error: the environment variable STORE_URI is not set: submit the job from a shell in "
        "which it is the URI\n",
    )


def test_no_sweep_takes_the_folder_of_ray_for_one_of_a_dead_process(tmp_path: Path) -> None:
    [pattern] = re.findall(r'mktemp -d "/tmp/(.*)"', script_of(tmp_path, tmp_path / "home"))
    assert not pattern.startswith(TEMP_FOLDER_PREFIX)
