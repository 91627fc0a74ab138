"""Ray, started quietly on this machine, or joined where the user says."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import ServiceError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""No output, no statistics sent, no snapshots of an experiment that is never restored; and a worker
that is given no GPU sees none."""

TEMP_PREFIX = "nal-"
"""Prefix of the temporary folders of a process; its id follows."""

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Makes a local Ray take 127.0.0.1 as its address, as it does on macOS by default: its servers
then listen on the loopback interface only. Read when ray is imported."""

NODE_PATIENCE_SECONDS = 120.0
"""A node's first worker has to start and to import torch, perhaps from a slow disk."""


CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 7.0
"""How long a cluster may take to be reached, and to answer: a library would wait for minutes."""


def require_cluster(address: str) -> None:
    """See that a Ray cluster answers at an address, within ten seconds.

    Raises:
        ServiceError: none does; says what to do.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise ServiceError(
            f"--ray-address {address}: write HOST:PORT of the cluster's head node, such as "
            "10.0.0.1:6379"
        )
    _use_token()
    hint = "start the cluster (`ray start --head`) or correct the address"
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ServiceError(
            f"--ray-address {address} cannot be reached ({error}): {hint}"
        ) from error
    # `ray.init` has no time limit; Ray's own health check is asked in a process that can be ended.
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        healthy = not subprocess.run(  # noqa: S603 - our own interpreter
            command, capture_output=True, timeout=ANSWER_SECONDS, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        healthy = False
    if not healthy:
        raise ServiceError(
            f"--ray-address {address} does not answer as a Ray cluster of this version, or not to "
            f"this user's token: {hint}"
        )


def _use_token() -> None:
    """Send the token that `ray start` made on this machine, where the user says nothing else."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if "RAY_AUTH_TOKEN" in os.environ or token.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextmanager
def ray_cluster(address: str | None) -> Iterator[None]:
    """Start Ray on this machine, or join the cluster at `address`.

    A cluster that happens to run here is never joined unasked, and a local one listens on the
    loopback interface only.

    Raises:
        ServiceError: the cluster does not answer, or Ray is not installed.
    """
    os.environ.update(QUIET)
    if address is None:
        os.environ.update(LOOPBACK)
    try:
        import ray
    except ImportError as error:
        raise ServiceError(f"Ray cannot be imported ({error}): add --engine inline") from error

    with own_folder() as folder:
        local: dict[str, Any] = {
            "_temp_dir": folder,
            "include_dashboard": False,
            "num_cpus": os.cpu_count(),
        }
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else local),
            )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            where = f"--ray-address {address}" if address else "Ray on this machine"
            reason = (str(error).strip().splitlines() or ["no message"])[0]
            raise ServiceError(f"{where} cannot be used: {reason}") from error
        try:
            yield
        finally:
            ray.shutdown()


def check_nodes(home: Path) -> None:
    """See that every node has the package and sees the home folder.

    Raises:
        ServiceError: names the first that does not, and what it lacks.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A function within a function travels by value: a node without the package can run it too.
    def look(folder: str) -> str:
        import importlib
        import pathlib

        try:
            importlib.import_module("trainables.trainable")
        except ImportError as error:
            return f"cannot import nal-orchestrator ({error}): install it there"
        if not pathlib.Path(folder).is_dir():
            return f"does not see --home {folder}: put it where all nodes see it"
        return ""

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    answers = {
        node["NodeManagerAddress"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(home))
        for node in nodes
    }
    for address, answer in answers.items():
        try:
            lack = ray.get(answer, timeout=NODE_PATIENCE_SECONDS)
        except ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or ["no message"])[-1]
            lack = f"cannot start a worker ({reason})"
        if lack:
            raise ServiceError(f"node {address} of the cluster {lack}")


def own_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for as long as a context lasts; remove those of processes that were killed.

    Ray's sockets lie there, and their paths may have no more than 107 bytes: hence `/tmp`.
    """
    short = Path("/tmp")  # noqa: S108 - tempfile below makes a private folder in it
    parent = short if short.is_dir() else Path(tempfile.gettempdir())
    for left in parent.glob(f"{TEMP_PREFIX}*-*"):
        pid = left.name.removeprefix(TEMP_PREFIX).split("-")[0]
        if pid.isdecimal() and not _lives(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    prefix = f"{TEMP_PREFIX}{os.getpid()}-"
    return tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _resources() -> dict[str, float]:
    import ray

    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def gpus_there() -> bool:
    """Tell whether the running cluster has any GPU."""
    return _resources().get("GPU", 0.0) > 0


def count_slots(cpus: float, gpus: float) -> int:
    """Return how many runs that need so much each can go at once on the running cluster.

    Raises:
        UserError: not even one.
    """
    has = _resources()
    needs = (("CPU", cpus), ("GPU", gpus))
    slots = int(min(has.get(name, 0.0) // each for name, each in needs if each))
    if slots < 1:
        raise UserError(
            f"one run needs resources.cpus = {cpus:g} and resources.gpus = {gpus:g}, but Ray has "
            f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs: ask for less with --set"
        )
    return slots
