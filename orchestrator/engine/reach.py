"""Whether something answers at an address, said before a library waits minutes for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from trainables.errors import ServiceError

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 7.0


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


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
