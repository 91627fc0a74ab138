"""Starting Ray on this machine, joining a Ray cluster, and checking both before their use."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.interpreter import module_command, working_dir_of_workers
from reports.words import format_count
from trainables.cpus import usable_cpu_count
from trainables.errors import ServiceError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


RAY_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Environment variables that are set in the process that controls Ray.

They turn off Ray's output, usage statistics and snapshots of the experiment. They also hide all
GPUs from workers to which Ray has assigned none.
"""

AUTH_VARIABLES = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
"""Environment variables by which a user chooses how Ray authenticates."""

DEFAULT_AUTH_TOKEN_FILE = Path("~/.ray/auth_token")
"""File in which Ray expects the user's token."""

TEMP_FOLDER_PREFIX = "nal-"
"""Start of the names of temporary folders, before the process ID."""

LOOPBACK_ENVIRONMENT = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Environment variable that makes Ray on this machine listen on 127.0.0.1 (loopback) only.

This is Ray's default on macOS. Ray reads the variable when it is imported.
"""

STOP_SIGNALS = frozenset((signal.SIGINT, signal.SIGTERM))
"""Signals with which the user or a job scheduler ends a command."""

NODE_TIMEOUT_SECONDS = 120.0
"""Time limit for the check of a cluster node, including the start of a worker, in seconds."""

CONNECT_TIMEOUT_SECONDS = 3.0
"""Time limit for connecting to a cluster, in seconds; Ray itself would wait for minutes."""

MAX_START_ATTEMPTS = 3
"""Largest number of attempts to start Ray or to join a cluster."""

HEALTH_CHECK_TIMEOUT_SECONDS = 7.0
"""Time limit for the health check of a Ray cluster, in seconds."""


def check_cluster(address: str) -> None:
    """Check that a Ray cluster responds at an address, within ten seconds.

    Args:
        address: HOST:PORT of the cluster's head node.

    Raises:
        ServiceError: if no cluster responds, or the address is malformed.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or "/" in host:
        raise ServiceError(
            f"--ray-address {address}: write HOST:PORT of the cluster's head node, such as "
            "10.0.0.1:6379"
        )
    _use_auth_token()
    hint = "start the cluster (`ray start --head`) or correct the address"
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ServiceError(
            f"--ray-address {address} cannot be reached ({error}): {hint}"
        ) from error
    # `ray.init` has no time limit, so Ray's own health check runs in a process that can be killed.
    command = module_command("ray.scripts.scripts", "health-check", "--address", address)
    try:
        is_healthy = not subprocess.run(  # noqa: S603 - our own interpreter
            command, capture_output=True, timeout=HEALTH_CHECK_TIMEOUT_SECONDS, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        is_healthy = False
    if not is_healthy:
        raise ServiceError(
            f"--ray-address {address} does not respond as a Ray cluster of this version, or "
            f"rejects this user's token: {hint}"
        )


def _use_auth_token() -> None:
    """Let Ray authenticate with the user's token, if the environment or a file contains one.

    An authentication mode that the user has chosen is left unchanged.
    """
    token_file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", DEFAULT_AUTH_TOKEN_FILE)).expanduser()
    if "RAY_AUTH_TOKEN" in os.environ or token_file.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _create_auth_token() -> None:
    """Create the user's token for Ray, which only the user can read, unless there is one.

    Ray would create it too, but readable by all users. If two processes start Ray for the first
    time at the same time, Ray would also replace the first one's token by the second one's, and the
    first process could not reach its own Ray.
    """
    path = DEFAULT_AUTH_TOKEN_FILE.expanduser()
    if path.exists():
        return
    # Another process may be faster, or the folder not writable, of which Ray tells the user.
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.link(file.name, path)


@contextmanager
def ray_cluster(address: str | None, on_notice: Callable[[str], None]) -> Iterator[None]:
    """Start Ray on this machine or join a Ray cluster, for the duration of the context.

    Without an address, Ray is started anew, even if a cluster is already running on this machine,
    and listens on the loopback interface only. On a busy machine Ray's processes may start too
    slowly for Ray's own time limits, so a failed start is repeated.

    Args:
        address: HOST:PORT of the cluster's head node; None to start Ray on this machine.
        on_notice: function that receives one line for the user before the start is repeated.

    Raises:
        ServiceError: if no attempt succeeds, or Ray is not installed.
    """
    os.environ.update(RAY_ENVIRONMENT)
    if address is None:
        os.environ.update(LOOPBACK_ENVIRONMENT)
    try:
        import ray
    except ImportError as error:
        raise ServiceError(
            f"Ray cannot be imported ({error}): install Ray, or do without Ray and add "
            "--engine inline"
        ) from error

    target = f"--ray-address {address}" if address else "Ray on this machine"
    with process_temp_dir() as temp_dir:
        for attempt in range(1, MAX_START_ATTEMPTS + 1):
            try:
                _connect(address, temp_dir)
                break
            except Exception as error:  # Ray raises plain `Exception`
                ray.shutdown()
                reason = (str(error).strip().splitlines() or ["no message"])[0]
                if attempt == MAX_START_ATTEMPTS:
                    raise ServiceError(
                        f"{target} could not be used in {MAX_START_ATTEMPTS} attempts ({reason}): "
                        "type the same command again when the machine is less busy, or add "
                        "--engine inline"
                    ) from error
                on_notice(
                    f"{target} could not be used ({reason}): attempt {attempt + 1} of "
                    f"{MAX_START_ATTEMPTS}"
                )
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: str | None, temp_dir: str) -> None:
    """Start Ray on this machine or join a Ray cluster, and keep this process's signal handlers.

    Raises:
        KeyboardInterrupt: if the process receives SIGINT or SIGTERM meanwhile. Ray's handler of
            SIGTERM raises `SystemExit`, which is lost if Python is in a destructor at that moment.
    """
    import ray

    local_options: dict[str, Any] = {
        "_temp_dir": temp_dir,
        "include_dashboard": False,
        "num_cpus": usable_cpu_count(),
    }
    previous_handler = signal.getsignal(signal.SIGTERM)
    if not address and not AUTH_VARIABLES & os.environ.keys():
        _create_auth_token()
    signals: set[int] = set()
    try:
        # Ray puts the driver's working directory on the module search path of its workers.
        with chdir(working_dir_of_workers(temp_dir)), _collect_signals(signals):
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else local_options),
            )
    except (Exception, SystemExit):
        if not signals & STOP_SIGNALS:
            raise
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
    if signals & STOP_SIGNALS:
        ray.shutdown()
        raise KeyboardInterrupt


@contextmanager
def _collect_signals(signals: set[int]) -> Iterator[None]:
    """Add to a set the numbers of the signals that this process receives in the context.

    An exception that a handler raises in a destructor or in a function that Python calls after a
    fork is lost. Python would print it with its stack; in the context it does not.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.settimeout(0)
        writer.settimeout(0)
        previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        previous_hook = sys.unraisablehook
        sys.unraisablehook = lambda lost: (
            None
            if issubclass(lost.exc_type, (KeyboardInterrupt, SystemExit))
            else previous_hook(lost)
        )
        try:
            yield
        finally:
            sys.unraisablehook = previous_hook
            signal.set_wakeup_fd(previous_fd)
            with suppress(BlockingIOError):
                signals.update(reader.recv(4096))


def check_nodes(home: Path) -> None:
    """Check that every node of the cluster has this package and access to the home folder.

    Args:
        home: home folder, in which all runs are recorded.

    Raises:
        ServiceError: if a node lacks the package or the access; the message names the node.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A nested function is pickled by value, so a node without the package can run it too.
    def find_problem(folder: str) -> str:
        import importlib
        import pathlib

        try:
            importlib.import_module("trainables.trainable")
        except ImportError as error:
            return f"cannot import nal-orchestrator ({error}): install this package on the node"
        if not pathlib.Path(folder).is_dir():
            return f"cannot access --home {folder}: choose a folder that all nodes can access"
        return ""

    remote_check = ray.remote(num_cpus=0, max_retries=0)(find_problem)
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    problems = {
        node["NodeManagerAddress"]: remote_check.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(home))
        for node in nodes
    }
    for address, result_ref in problems.items():
        try:
            problem = ray.get(result_ref, timeout=NODE_TIMEOUT_SECONDS)
        except ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or ["no message"])[-1]
            problem = f"cannot start a worker ({reason})"
        if problem:
            raise ServiceError(f"node {address} of the cluster {problem}")


def process_temp_dir() -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder for this process, and remove those of killed processes.

    The folder is in `/tmp` for a short path, since Ray creates sockets in the folder, whose paths
    are limited to 107 bytes.
    """
    tmp = Path("/tmp")  # noqa: S108 - tempfile below makes a private folder in it
    parent = tmp if tmp.is_dir() else Path(tempfile.gettempdir())
    for folder in parent.glob(f"{TEMP_FOLDER_PREFIX}*-*"):
        pid = folder.name.removeprefix(TEMP_FOLDER_PREFIX).split("-")[0]
        if pid.isdecimal() and not _process_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    prefix = f"{TEMP_FOLDER_PREFIX}{os.getpid()}-"
    return tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def has_gpus() -> bool:
    """Return whether the connected Ray cluster has at least one GPU."""
    return any(node.get("GPU", 0.0) > 0 for node in _node_resources())


def count_slots(cpus: float, gpus: float) -> int:
    """Return the number of runs that the connected Ray cluster can carry out at a time.

    A run cannot be divided between nodes, so the number is the sum of those of the nodes.

    Args:
        cpus: number of CPUs that one run requires.
        gpus: number of GPUs that one run requires, which may be a fraction.

    Raises:
        UserError: if no node has enough CPUs and GPUs for one run.
    """
    nodes = _node_resources()
    slot_count = sum(_slots_of(node, cpus, gpus) for node in nodes)
    if slot_count < 1:
        node_texts = [
            f"{format_count(int(node.get('CPU', 0)), 'CPU')} and "
            f"{format_count(int(node.get('GPU', 0)), 'GPU')}"
            for node in nodes
        ]
        raise UserError(
            f"one run requires resources.cpus = {cpus:g} and resources.gpus = {gpus:g} on one "
            f"machine, but Ray's machines have {'; '.join(dict.fromkeys(node_texts))}: reduce "
            "resources.cpus or resources.gpus with --set"
        )
    return slot_count


def _node_resources() -> list[dict[str, float]]:
    """Return the resources of each live node of the connected Ray cluster, such as its CPUs."""
    import ray

    return [
        node["Resources"]
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def _slots_of(available: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Return how many times the CPUs and GPUs of one run are available."""
    required = (("CPU", cpus), ("GPU", gpus))
    return int(min(available.get(name, 0.0) // count for name, count in required if count))


def cpus_for_fewer_runs(cpus: int, gpus: float) -> int:
    """Return the number of CPUs per run at which each node carries out half as many runs.

    Ray then starts fewer runs at a time on every node. The number of threads of a run does not
    depend on its CPUs.

    Args:
        cpus: number of CPUs that one run occupies at present.
        gpus: number of GPUs that one run requires, which may be a fraction.

    Returns:
        The number of CPUs, or `cpus` if no node carries out more than one run at a time.
    """
    nodes = [node for node in _node_resources() if _slots_of(node, cpus, gpus) > 0]
    max_cpus = int(min((node["CPU"] for node in nodes), default=cpus))
    max_slot_count = max((_slots_of(node, cpus, gpus) for node in nodes), default=0)
    return next(
        (
            more_cpus
            for more_cpus in range(cpus + 1, max_cpus + 1)
            if max(_slots_of(node, more_cpus, gpus) for node in nodes) <= max_slot_count / 2
        ),
        cpus if max_slot_count <= 1 else max_cpus,
    )
