"""A Slurm for tests: its daemons in the foreground, on this machine alone, with their own files."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from small_runs import digits

from orchestrator.engine import slurm_engine, slurm_job
from orchestrator.engine.slurm_pool import JobStates, SlurmPool
from trainables.errors import ServiceError
from trainables.training.training_run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.engine.slurm_job import SlurmJob
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec
    from trainables.training.job import Job, OpenRun

PATIENCE_SECONDS = 300.0

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job waits until credentials of its first start have expired.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SchedulerParameters=bf_interval=1,batch_sched_delay=0,sched_interval=1,sched_min_interval=10000
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Slurm:
    """A running Slurm, which commands reach by the variable SLURM_CONF of the environment."""

    folder: Path

    def run(self, *words: object) -> str:
        """Run one of Slurm's commands and return its output."""
        process = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, check=False, timeout=60
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    def jobs(self) -> dict[str, str]:
        """Return the state of every job that has not ended, by ID."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self._logs()
            time.sleep(0.1)

    def _logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def slurm_cluster(nodes: int = 1, cpus: int = 4) -> Iterator[Slurm]:
    """Start a Slurm and stop it, with all its jobs, at the end of the context.

    Where Slurm is not installed, the test is skipped, but not in CI.

    Args:
        nodes: number of nodes, all of which are this machine.
        cpus: number of CPUs of each node, whatever this machine has.
    """
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    programs = {name: shutil.which(name, path=path) for name in ("munged", "slurmctld", "slurmd")}
    if missing := [name for name, program in programs.items() if program is None]:
        reason = f"{', '.join(missing)} not installed: apt-get install slurm-wlm"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with ExitStack() as stack:
        # Sockets have short paths.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp")))
        stack.enter_context(pytest.MonkeyPatch.context()).setenv(
            "SLURM_CONF", str(folder / "slurm.conf")
        )
        (folder / "state").mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        names = [f"n{number}" for number in range(1, nodes + 1)]
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host,
                controller_port=_free_port(),
                user=getpass.getuser(),
                folder=folder,
                nodes="\n".join(
                    f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={_free_port()} "
                    f"CPUs={cpus} RealMemory=4000"
                    for name in names
                ),
            )
        )

        def start(program: str, *arguments: str) -> None:
            process = subprocess.Popen(
                [str(programs[program]), *arguments],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(process.wait)
            stack.callback(process.send_signal, signal.SIGTERM)

        files = ("key-file", "socket", "pid-file", "log-file", "seed-file")
        start(
            "munged",
            *("--foreground", "--force", "--num-threads=1"),
            *(f"--{name}={folder}/munge.{name.removesuffix('-file')}" for name in files),
        )
        slurm = Slurm(folder)
        slurm.wait_for((folder / "munge.socket").exists)
        start("slurmctld", "-D", "-c")
        for name in names:
            start("slurmd", "-D", "-N", name)
        slurm.wait_for(lambda: _are_idle(nodes))
        try:
            yield slurm
        finally:
            subprocess.run(["scancel", f"--user={getpass.getuser()}"], check=False)
            slurm.wait_for(lambda: not slurm.jobs())


def _are_idle(nodes: int) -> bool:
    """Return whether all nodes are ready for jobs."""
    process = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%T"],
        capture_output=True,
        text=True,
        check=False,
    )
    return process.stdout.split().count("idle") == nodes


@contextmanager
def open_slowly(spec: RunSpec, job: Job) -> Iterator[OpenRun]:
    """Open a real run on the digits with many checkpoints and slow epochs; an `Opener`."""
    run = TrainingRun(spec, job.home, digits, job.study, checkpoint_interval_seconds=0.2)
    with run, pytest.MonkeyPatch.context() as patch:
        advance = run.advance

        def advance_slowly() -> RunResult | None:
            time.sleep(0.1)
            return advance()

        patch.setattr(run, "advance", advance_slowly)
        yield run


class PoolInProcess(SlurmPool):
    """A pool whose jobs are carried out in this process, one after the other, without Slurm.

    Attributes:
        refusals: number of the next submissions that are refused.
        deaths: number of the next jobs that end before they do anything.
        submitted: number of jobs submitted so far.
    """

    refusals = 0
    deaths = 0
    submitted = 0

    def submit(self, function: SlurmJob, count: int) -> None:
        if PoolInProcess.refusals:
            PoolInProcess.refusals -= 1
            raise ServiceError("Slurm refuses a job of the sweep (too many)")
        for _ in range(count):
            PoolInProcess.submitted += 1
            self._jobs = [*getattr(self, "_jobs", []), (str(PoolInProcess.submitted), function)]

    def look(self) -> JobStates:
        jobs: list[tuple[str, SlurmJob]] = getattr(self, "_jobs", [])
        self._jobs = []
        for name, function in jobs:
            if PoolInProcess.deaths:
                PoolInProcess.deaths -= 1
                continue
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SLURM_JOB_ID", name)
                function(0)
        return JobStates(frozenset(), {}, frozenset(name for name, _ in jobs))

    def cancel(self) -> None:
        self._jobs = []


@contextmanager
def jobs_in_process() -> Iterator[type[PoolInProcess]]:
    """Let the engine for Slurm carry out its jobs in this process, without waiting."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm_engine, "SlurmPool", PoolInProcess)
        patch.setattr(slurm_engine, "POLL_SECONDS", 0)
        patch.setattr(slurm_engine, "LOOK_SECONDS", 0)
        patch.setattr(slurm_job, "LOOK_SECONDS", 0.001)
        patch.setattr(slurm_job, "IDLE_SECONDS", 0.005)
        for name in ("refusals", "deaths", "submitted"):
            patch.setattr(PoolInProcess, name, 0)
        try:
            yield PoolInProcess
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
