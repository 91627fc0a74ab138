"""Starting Ray on this machine, and joining a Ray cluster after a check of its address."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import tempfile
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.engine.temp_dirs import process_temp_dir
from orchestrator.interpreter import module_command, working_dir_of_workers
from trainables.cpus import usable_cpu_count
from trainables.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


RAY_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Environment variables that are set in the process that controls Ray.

They turn off Ray's output, usage statistics and snapshots of the experiment. They hide all GPUs
from workers to which Ray has assigned none. If the head node does not answer, Ray ends the process
after 20 s.
"""

AUTH_VARIABLES = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
"""Environment variables by which a user chooses how Ray authenticates."""

DEFAULT_AUTH_TOKEN_FILE = Path("~/.ray/auth_token")
"""File in which Ray expects the user's token."""

LOOPBACK_ENVIRONMENT = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Environment variable that makes Ray on this machine listen on 127.0.0.1 (loopback) only.

This is Ray's default on macOS. Ray reads the variable when it is imported.
"""

CONNECT_TIMEOUT_SECONDS = 3.0
"""Time limit for connecting to a cluster, in seconds; Ray itself would wait for minutes."""

MAX_START_ATTEMPTS = 3
"""Largest number of attempts to start Ray or to join a cluster."""

HEALTH_CHECK_TIMEOUT_SECONDS = 20.0
"""Time limit for the health check of a Ray cluster, in seconds."""

MAX_LINE_LENGTH = 200
"""Number of characters of a line of Ray that a message quotes at most."""

TIMEOUT_OUTPUT = "timed out"
"""Stands for the output of a health check that did not end in time."""

THIS_CLUSTER = "auto"
"""Address that stands for the cluster of which this machine is a node."""

JOIN_ERRORS = (
    (
        TIMEOUT_OUTPUT,
        f"has not answered within {HEALTH_CHECK_TIMEOUT_SECONDS:.0f} s: type the same command again"
        " when the head node is less busy",
    ),
    (
        "InvalidAuthToken",
        "rejects this user's token: copy the token of the cluster (`ray get-auth-token` on its head"
        " node) to ~/.ray/auth_token, or set RAY_AUTH_TOKEN_PATH",
    ),
    (
        "ersion mismatch",
        "has another version of Ray or Python: install the same versions on this machine",
    ),
    (
        "running Ray instance",
        "is not there: no Ray is running on this machine; type the command on a node of the "
        "cluster, or start Ray (`ray start --head`)",
    ),
    (
        "multiple active Ray instances",
        "is ambiguous, since several clusters are running on this machine: write HOST:PORT of the "
        "head node",
    ),
    (
        "No node info found",
        "can be reached, but this machine is none of its nodes: type the command on a node, or make"
        " this machine one (`ray start --address=HOST:PORT --num-cpus 0` trains nothing here)",
    ),
)
"""Parts of Ray's messages on a cluster that cannot be joined, and what they mean to the user."""


def check_cluster(address: str) -> None:
    """Check that a Ray cluster responds at an address, within half a minute.

    Args:
        address: HOST:PORT of the cluster's head node, or `THIS_CLUSTER`.

    Raises:
        ServiceError: if no cluster responds, or the address is malformed.
    """
    _use_auth_token()
    hint = "start the cluster (`ray start --head`) or correct the address"
    if address != THIS_CLUSTER:
        host, port = _host_and_port(address)
        try:
            socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ServiceError(
                f"--ray-address {address} cannot be reached ({error}): {hint}"
            ) from error
    # `ray.init` has no time limit, so Ray's own health check runs in a process that can be killed.
    output = _health_check(address, os.environ)
    if output is None:
        return
    last_line = (output.strip().splitlines() or ["no message"])[-1][:MAX_LINE_LENGTH]
    raise ServiceError(
        f"--ray-address {address} "
        + (_explain(output) or f"does not respond as a Ray cluster ({last_line}): {hint}")
    )


def _host_and_port(address: str) -> tuple[str, int]:
    """Return the host and the port of a cluster's address.

    Raises:
        ServiceError: if the address is malformed.
    """
    if address.startswith("ray://"):
        raise ServiceError(
            f"--ray-address {address}: an address of Ray Client cannot be used: type the command "
            f"on a node of the cluster (through `ray attach`, `ray job submit`, `kubectl exec` or "
            f"ssh), with --ray-address {THIS_CLUSTER}"
        )
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or not host or "/" in host:
        raise ServiceError(
            f"--ray-address {address}: write HOST:PORT of the cluster's head node, such as "
            f"10.0.0.1:6379, or {THIS_CLUSTER} on a node of the cluster"
        )
    return host.strip("[]"), int(port)


def _health_check(address: str, environment: Mapping[str, str]) -> str | None:
    """Return None if a Ray cluster responds, else the output of Ray's health check.

    Args:
        address: HOST:PORT of the cluster's head node, or `THIS_CLUSTER`.
        environment: environment variables of the check, which contain the user's token.
    """
    options = [] if address == THIS_CLUSTER else ["--address", address]
    try:
        process = subprocess.run(  # noqa: S603 - our own interpreter
            module_command("ray.scripts.scripts", "health-check", *options),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=HEALTH_CHECK_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TIMEOUT_OUTPUT
    return process.stdout if process.returncode else None


def _explain(text: str) -> str:
    """Return what a message of Ray about a cluster means to the user; "" if that is unknown."""
    return next((meaning for part, meaning in JOIN_ERRORS if part in text), "")


def _accepts_strangers(address: str) -> bool:
    """Return whether a Ray cluster follows orders of anyone who reaches its ports."""
    without_token = {
        name: value for name, value in os.environ.items() if name not in AUTH_VARIABLES
    }
    return _health_check(address, without_token | {"RAY_AUTH_MODE": "disabled"}) is None


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
        address: HOST:PORT of the cluster's head node, or `THIS_CLUSTER`; None to start Ray on this
            machine.
        on_notice: function that receives one line for the user before the start is repeated, and
            if the cluster is open to anyone.

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
                if address and (meaning := _explain(f"{error} {error.__context__}")):
                    raise ServiceError(f"{target} {meaning}") from error
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
            if address and _accepts_strangers(address):
                on_notice(
                    f"WARNING: the Ray cluster at {address} asks for no token: anyone who reaches "
                    "its ports can run programs as you on its nodes. Start it with "
                    "RAY_AUTH_MODE=token"
                )
            yield
        finally:
            ray.shutdown()


def _connect(address: str | None, temp_dir: str) -> None:
    """Start Ray on this machine or join a Ray cluster, and keep this process's signal handlers."""
    import ray

    local_options: dict[str, Any] = {
        # Ray lets everyone write to its folder, but nobody else can enter the one around it.
        "_temp_dir": f"{temp_dir}/r",
        "include_dashboard": False,
        "num_cpus": usable_cpu_count(),
    }
    previous_handler = signal.getsignal(signal.SIGTERM)
    if not address and not AUTH_VARIABLES & os.environ.keys():
        _create_auth_token()
    try:
        # Ray puts the driver's working directory on the module search path of its workers.
        with chdir(working_dir_of_workers(temp_dir)):
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else local_options),
            )
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
