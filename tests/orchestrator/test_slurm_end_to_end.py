"""Sweeps and runs on a real Slurm of two nodes: job scripts, jobs, and jobs that die."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from command_line import CHECKOUT, RunningCommand, call_command, results, run_command
from fake_runs import attempts, misbehave, open_fake
from slurm import Slurm, open_slowly, slurm_cluster
from small_runs import complete_run, digits, recipe, runnable
from task_sources import EPOCHS, SPECS, RecordingListener, ScriptedTaskSource

from orchestrator.engine import slurm_engine
from orchestrator.engine.slurm_engine import SlurmEngine
from orchestrator.engine.slurm_job import job_name
from orchestrator.engine.slurm_queue import RunQueue
from orchestrator.launching.slurm_script import SweepCommand, slurm_script
from orchestrator.slurm import submit_job_script
from orchestrator.sweeping.tasks import RunList
from trainables.run.record import Record
from trainables.run.spec import RunSpec
from trainables.training.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trainables.run.result import RunResult

pytestmark = pytest.mark.slow

SWEEP = (
    *("digits", "--epochs", 6, "--trials", 2, "--seeds", 1, "--methods", "nal"),
    *("--set", "select.seeds=[2000]"),
)

CHECKPOINTS = ("checkpoint.pt", "fake.epoch")
"""Names of the checkpoints of real and fake runs."""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """A Slurm of two nodes, whose jobs import this checkout and its tests."""
    with slurm_cluster(nodes=2) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield cluster


@pytest.fixture(scope="module")
def launched(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The home of a sweep that a job has carried out, interrupted once, and the ID of the job."""
    home = tmp_path_factory.mktemp("launched") / "a home"
    process = call_command(
        *("launch", "slurm", *SWEEP, "--home", home, "--cpus", 1, "--time", 30),
        *("--submit", "--json"),
    )
    assert process.returncode == 0, process.stderr
    job: str = json.loads(process.stdout)["job"]
    slurm.wait_for(lambda: bool(results(home)) or job not in slurm.jobs())
    (token,) = (home / "slurm").glob("*.token")
    assert token.stat().st_mode & 0o777 == 0o600
    # What Slurm does before the time limit; limits are whole minutes.
    slurm.run("scancel", "--batch", "--signal=USR1", job)
    slurm.wait_for(lambda: job not in slurm.jobs())
    return home, job


def assert_same_bits_as_without_slurm(home: Path, folder: Path) -> None:
    """Assert that every recorded run has the trace that this process computes in a folder."""
    recorded = results(home)
    assert len(recorded) >= 4
    for result in recorded.values():
        whole = complete_run(RunSpec.from_dict(result["spec"]), folder, digits)
        assert result["trace"] == whole.trace


def table_of(home: Path) -> object:
    """Return the table of the sweep in a home."""
    process = call_command("report", "--home", home, "--json")
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)["sections"]


def test_a_job_script_carries_out_a_sweep_and_goes_on_after_its_time_limit(
    slurm: Slurm, launched: tuple[Path, str], tmp_path: Path
) -> None:
    home, job = launched
    text = (home / "slurm" / f"digits-{job}.log").read_text()
    assert "Restarts=1 " in slurm.run("scontrol", "show", "job", job), text
    assert "The time limit is near: the job is requeued and goes on" in text
    assert re.search(r"\nat least \d+ runs? already recorded: training the runs that", text), text
    assert "\nerror: " not in text
    assert not list((home / "slurm").glob("*.token"))
    assert_same_bits_as_without_slurm(home, tmp_path)


FAKE_PYTHON = r"""#!/bin/bash
echo "node $SLURM_NODEID: $*" >> "$(dirname "$0")/calls"
wait_for_the_end() {
    sleep 300 &
    trap 'kill $!; exit '"$1" TERM
    wait
}
case "$*" in
*"import ray.util"*) echo 127.0.0.1 ;;
*"import grpc"*) exit 1 ;;
*"ray.scripts.scripts start"*)
    echo "Ray runtime started."
    wait_for_the_end 0
    ;;
*"-m orchestrator sweep"*) wait_for_the_end 130 ;;
esac
"""
"""A program in place of Python, which starts no Ray, and a sweep that never gets anywhere."""


def test_a_job_that_never_reaches_a_checkpoint_is_not_requeued_for_ever(
    slurm: Slurm, tmp_path: Path
) -> None:
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    (tmp_path / "format").touch()
    options = {
        "nodes": "2",
        "ntasks-per-node": "1",
        "cpus-per-task": "1",
        "requeue": "",
        "output": f"{tmp_path}/log",
        "open-mode": "append",
    }
    command = SweepCommand(
        str(python),
        is_safe=True,
        arguments=["sweep", "digits"],
        folder=tmp_path,
        home=tmp_path,
        required_variables={},
    )
    job = submit_job_script(slurm_script(options, command))
    for number in range(1, 4):
        slurm.wait_for(
            lambda count=number: calls.exists() and calls.read_text().count("sweep") == count  # type: ignore[misc]
        )
        slurm.run("scancel", "--batch", "--signal=USR1", job)
    slurm.wait_for(lambda: job not in slurm.jobs())
    (error,) = re.findall(r"^error: .*", (tmp_path / "log").read_text(), re.MULTILINE)
    assert error == "error: no run came as far as a checkpoint in 3 jobs: ask for more --time"
    assert "ExitCode=2:0" in slurm.run("scontrol", "show", "job", job)
    port = 20000 + 2 * int(job)
    lines = calls.read_text().splitlines()
    starts = sorted(line.split(" --num-cpus")[0] for line in lines if " start " in line)
    start = "-P -m ray.scripts.scripts start --block"
    head = f"node 0: {start} --head --node-ip-address=127.0.0.1 --port={port}"
    assert starts == [
        *[f"{head} --include-dashboard=false"] * 3,
        *[f"node 1: {start} --address=127.0.0.1:{port}"] * 3,
    ]
    sweeps = [line.partition(": ")[2] for line in lines if " sweep " in line]
    assert sweeps == [f"-P -m orchestrator sweep digits --ray-address 127.0.0.1:{port}"] * 3


def test_jobs_outlive_their_driver_and_nothing_is_trained_twice(
    slurm: Slurm, launched: tuple[Path, str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    command = ("sweep", *SWEEP, "--engine", "slurm", "--max-concurrent", 2, "--home", home)
    driver = RunningCommand.start(*command)
    driver.wait_for(lambda: bool(results(home)))
    driver.end_by(signal.SIGKILL)
    assert slurm.jobs()
    finished = run_command(*command)
    assert finished.returncode == 0, finished.stderr
    assert set(attempts(home).values()) == {1}
    assert_same_bits_as_without_slurm(home, tmp_path)
    assert table_of(home) == table_of(launched[0])
    assert not list((home / "slurm").iterdir())
    slurm.wait_for(lambda: not slurm.jobs())


def carriers(home: Path) -> dict[str, str]:
    """Return the job that carries out each run with a checkpoint, by digest."""
    return {
        order.digest: job
        for folder in (home / "slurm").glob("runs-*")
        for job, orders in RunQueue(folder).taken_orders().items()
        for order in orders
        if any((Record(home, order.digest).folder / name).exists() for name in CHECKPOINTS)
    }


def kill_process_of(job: str) -> None:
    """Kill the process that trains in a job, as when it lacks memory."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        if (
            "submitit.core._submit" in (process.info["cmdline"] or ())
            and "SLURM_JOB_ID" in environment
            and job_name(environment) == job
        ):
            process.kill()


@contextmanager
def disturbed(slurm: Slurm, home: Path, *ways: Callable[[str], object]) -> Iterator[None]:
    """End the job of each run in another way, once all runs have a checkpoint."""

    def disturb() -> None:
        slurm.wait_for(lambda: len(carriers(home)) == len(ways))
        for way, job in zip(ways, sorted(carriers(home).values()), strict=True):
            way(job)

    thread = threading.Thread(target=disturb)
    thread.start()
    yield
    thread.join()


def test_runs_go_on_when_their_jobs_are_killed_or_cancelled(slurm: Slurm, tmp_path: Path) -> None:
    specs = [runnable(seed=seed, recipe=recipe(20)) for seed in range(2)]
    listener = RecordingListener()
    ended: list[RunResult] = []
    with disturbed(slurm, tmp_path, kill_process_of, lambda job: slurm.run("scancel", job)):
        SlurmEngine({"time": "10"}, opener=open_slowly).carry_out(
            RunList(specs, ended.append), Job(tmp_path, tmp_path, "digits"), listener
        )
    assert set(attempts(tmp_path).values()) == {2}
    (notice,) = listener.notices
    assert notice.endswith("has died: its run continues from its checkpoint in another job")
    assert sorted(listener.ends) == sorted(result.digest for result in ended)
    for result in ended:
        assert result.trace == complete_run(result.spec, tmp_path / "whole", digits).trace


def test_a_job_is_requeued_at_the_signal_before_its_time_limit(
    slurm: Slurm, tmp_path: Path
) -> None:
    misbehave(tmp_path, seconds=1)
    task_source = ScriptedTaskSource(SPECS[:1])
    jobs: list[str] = []

    def warn(job: str) -> None:
        jobs.append(job)
        slurm.run("scancel", "--signal=USR2", job)
        slurm.wait_for(lambda: slurm.jobs().get(job) == "PENDING")

    with disturbed(slurm, tmp_path, warn):
        SlurmEngine({"time": "10"}, opener=open_fake).carry_out(
            task_source, Job(tmp_path, tmp_path, "fake"), RecordingListener()
        )
    assert "Restarts=1 " in slurm.run("scontrol", "show", "job", jobs[0])
    assert attempts(tmp_path) == {SPECS[0].digest: 2}
    assert task_source.epochs(0) == list(range(1, EPOCHS + 1))


def test_options_that_slurm_refuses_are_told_before_anything_is_written(
    slurm: Slurm, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    slurm.wait_for(lambda: not slurm.jobs())
    for command in (
        ("sweep", "digits", "--engine", "slurm", "--sbatch", "partition=none", "--home", home),
        ("launch", "slurm", "digits", "--partition", "none", "--home", home),
    ):
        refused = call_command(*command)
        assert refused.returncode == 2
        assert refused.stderr.startswith(
            "error: Slurm does not accept the job (Invalid partition name specified): correct "
        )
        assert refused.stderr.count("\n") == 1
    assert not home.exists()
    assert not slurm.jobs()


def test_jobs_that_cannot_start_end_the_sweep(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/python")
    monkeypatch.setattr(slurm_engine, "LOOK_SECONDS", 1.0)
    specs = [runnable(recipe=recipe(2))]
    with pytest.raises(Exception, match=r"3 jobs of Slurm ended before .*/no/python"):
        SlurmEngine().carry_out(
            RunList(specs, lambda _: None),
            Job(tmp_path, tmp_path, "digits"),
            RecordingListener(),
        )
    slurm.wait_for(lambda: not slurm.jobs())
