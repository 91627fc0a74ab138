"""Checks of the machine: versions, devices, and whether training can be repeated bit for bit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING, Any

from orchestrator.checkup.check import Check
from orchestrator.flags import StudyFlags
from orchestrator.interpreter import module_command
from orchestrator.planning.plan import Plan
from reports.words import format_count
from search_spaces.schema import Phase
from trainables.cpus import gpu_description, processor_name, usable_cpu_count
from trainables.datasets import load
from trainables.run.provenance import code_provenance, package_versions
from trainables.training.job import gpu_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from trainables.run.spec import RunSpec
    from trainables.training.job import Row

SELF_CHECK_STUDY = "digits"
"""Study whose data are installed with scikit-learn."""
SELF_CHECK_EPOCHS = 3
"""Number of epochs of the run that is trained twice."""
SELF_CHECK_TIMEOUT_SECONDS = 300.0
"""Longest time for one training of the run, in seconds."""


def check_versions() -> Check:
    """Return the versions of Python, the libraries and this package, with its commit."""
    versions = package_versions() | {"MLflow": _version_of("MLflow")}
    code = code_provenance()
    changes = " with uncommitted changes" if code["dirty"] == "yes" else ""
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    absent = [name for name, version in versions.items() if version == "absent"]
    return Check(
        "versions",
        "problem" if absent else "ok",
        f"{text}; commit {code['commit'][:12]}{changes}",
        f"install {', '.join(absent)}: `pip install .` in the checkout does" if absent else "",
    )


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def check_devices() -> Check:
    """Return the processor, the GPUs, and the CPUs that this process may use."""
    gpus = gpu_description() or "no GPU"
    cpus = format_count(usable_cpu_count(), "usable CPU")
    return Check("devices", "ok", f"{processor_name()}, {cpus}; {gpus}; host {platform.node()}")


def check_determinism(data_dir: Path) -> Iterator[Check]:
    """Train a small run twice, in two processes, and compare: on the CPU, and on a GPU if present.

    Args:
        data_dir: folder of the datasets, of which none is read.
    """
    study = StudyFlags(SELF_CHECK_STUDY, epochs=SELF_CHECK_EPOCHS).load().study
    plan = Plan(SELF_CHECK_STUDY, study, load(study.dataset, data_dir, None))
    spec = plan.spec(Phase.CONFIRM, "nal", study.scenarios[0], {}, 0)
    for gpus in (0.0, 1.0) if gpu_description() else (0.0,):
        yield _compare_processes(spec, gpus)


def _compare_processes(spec: RunSpec, gpus: float) -> Check:
    """Train a run in two processes, one after the other, and compare their traces.

    Args:
        spec: specification of the run.
        gpus: number of GPUs; 0 to train on the CPU.
    """
    name = "bits on GPU" if gpus else "bits on CPU"
    advice = (
        "results of this machine cannot be repeated: compare the versions of torch and of the "
        "driver with those of another machine, and leave this one out of sweeps until they agree"
    )
    try:
        (device, first), (_, second) = (_train(spec, gpus) for _ in range(2))
    except (subprocess.SubprocessError, ValueError) as error:
        return Check(name, "problem", f"a small run cannot be trained: {error}", advice)
    if difference := first_difference(first, second):
        return Check(name, "problem", f"two processes differ on {device}: {difference}", advice)
    return Check(
        name,
        "ok",
        f"a run of {format_count(len(first), 'epoch')}, trained in two processes, gave the same "
        f"bits ({device}, {format_count(spec.threads, 'thread')})",
    )


def _train(spec: RunSpec, gpus: float) -> tuple[str, list[Row]]:
    """Train a run in a process of its own, and return the device and the trace.

    Raises:
        ValueError: if the process fails.
        subprocess.TimeoutExpired: if it takes too long.
    """
    process = subprocess.run(  # noqa: S603 - our own interpreter
        module_command("trainables.training.self_check"),
        input=json.dumps(spec.to_dict()),
        capture_output=True,
        text=True,
        check=False,
        timeout=SELF_CHECK_TIMEOUT_SECONDS,
        env=os.environ | gpu_environment(gpus),
    )
    if process.returncode:
        raise ValueError((process.stderr.strip().splitlines() or ["no message"])[-1])
    values: dict[str, Any] = json.loads(process.stdout)
    return values["device"], values["trace"]


def first_difference(first: Sequence[Row], second: Sequence[Row]) -> str:
    """Name the first epoch and metric in which two traces differ; "" if they are equal.

    Two values that are not numbers are equal.

    Args:
        first: metrics after each epoch of one run.
        second: the same of the other run.
    """
    for one, other in zip(first, second, strict=False):
        for metric in dict.fromkeys((*one, *other)):
            values = repr(one.get(metric)), repr(other.get(metric))
            if values[0] != values[1]:
                return f"epoch {one['epoch']:.0f}, {metric}: {values[0]} and {values[1]}"
    if len(first) != len(second):
        return f"{len(first)} and {len(second)} epochs"
    return ""
