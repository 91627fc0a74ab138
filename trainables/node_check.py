"""Check of a machine of a cluster, by a worker process on it: what a run needs is there.

The check tells what is missing as the end of a sentence that begins with the name of the machine.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.errors import HomeError, NalError
from trainables.extensions import load_file
from trainables.run.spec import REVISION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trainables.training.job import Job

CUDA_PROGRAM = "import torch; torch.zeros(1, device='cuda')"
"""Program that fails where PyTorch cannot use a GPU."""

CUDA_SECONDS = 60.0
"""Time limit for `CUDA_PROGRAM`, in seconds."""


@dataclass(frozen=True, slots=True)
class NodeDemand:
    """What the runs of a job need on a machine.

    Attributes:
        job: settings that all runs share, with the home folder and the data.
        marker: file in the home folder, by which a machine knows that it has the same folder.
        marker_text: content of the file.
        versions: versions that a result depends on, by name, as `own_versions` returns them.
    """

    job: Job
    marker: Path
    marker_text: str
    versions: Mapping[str, str]

    def find_problem(self, *, has_gpu: bool) -> str:
        """Return what this machine lacks, and what to do; "" if it lacks nothing.

        Args:
            has_gpu: whether the cluster assigns GPUs of this machine to runs.
        """
        return (
            self._find_other_version()
            or self._find_home_problem()
            or self._find_data_problem()
            or (self._find_gpu_problem() if has_gpu and self.job.gpus else "")
        )

    def _find_other_version(self) -> str:
        for name, version in own_versions().items():
            expected = self.versions[name]
            if version != expected:
                return (
                    f"has {name} {version}, but the command has {expected}: install the same "
                    "version on both"
                )
        return ""

    def _find_home_problem(self) -> str:
        home = self.job.home
        hint = "choose a folder that all nodes share"
        try:
            text = self.marker.read_text()
            if text != self.marker_text:
                raise FileNotFoundError
            probe = home / f".node-{uuid.uuid4().hex}"
            probe.write_text("")
            probe.unlink()
        except FileNotFoundError:
            if home.is_dir():
                return f"has another folder at --home {home}: {hint}"
            return f"has no folder --home {home}: {hint}"
        except OSError as error:
            return f"cannot use --home {home} ({error.strerror}): {hint}"
        return ""

    def _find_data_problem(self) -> str:
        from trainables.datasets import load

        job = self.job
        if not job.dataset:
            return ""
        try:
            for file in job.code:
                load_file(file)
            dataset = load(job.dataset, job.data_dir, job.home / "cache")
        except NalError as error:
            return f"cannot read the data ({error})"
        if dataset.digest != job.data:
            return (
                f"has other data of {job.dataset} in {job.data_dir} (SHA-256 "
                f"{dataset.digest[:12]}, expected {job.data[:12]}): copy the data of the command's "
                "machine"
            )
        return ""

    def _find_gpu_problem(self) -> str:
        environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        command = [sys.executable, "-P", "-c", CUDA_PROGRAM]
        try:
            process = subprocess.run(  # noqa: S603 - our own interpreter
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=CUDA_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"has a GPU that PyTorch could not use within {CUDA_SECONDS:.0f} s"
        if not process.returncode:
            return ""
        reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
        return (
            f"has a GPU that PyTorch cannot use ({reason}): install a driver and a PyTorch for it, "
            "or start Ray there with --num-gpus 0"
        )


@contextmanager
def node_demand(job: Job) -> Iterator[NodeDemand]:
    """Return what the runs of a job need on a machine, for the duration of the context.

    Meanwhile the home folder contains a file by which machines recognise it. Those that killed
    commands of the same study have left are removed.

    Args:
        job: settings that all runs share.

    Raises:
        HomeError: if the home folder cannot be written.
    """
    prefix = f".marker-{job.study}-"
    marker, text = job.home / f"{prefix}{uuid.uuid4().hex}", uuid.uuid4().hex
    try:
        for path in job.home.iterdir():
            if path.name.startswith(prefix):
                path.unlink(missing_ok=True)
        marker.write_text(text)
    except OSError as error:
        raise HomeError(f"cannot write {marker}: {error.strerror}") from error
    try:
        yield NodeDemand(job, marker, text, own_versions())
    finally:
        with suppress(OSError):
            marker.unlink()


def own_versions() -> dict[str, str]:
    """Return the versions of this machine that a result depends on, by name.

    The build of PyTorch (such as +cu128) is left out: runs record it with the device.
    """
    return {
        "revision": str(REVISION),
        "torch": importlib.metadata.version("torch").partition("+")[0],
    }
