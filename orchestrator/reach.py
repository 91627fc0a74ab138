"""Whether something listens at an address, said before a library waits minutes for it."""

from __future__ import annotations

import socket

from trainables.errors import ServiceError

PATIENCE_SECONDS = 5.0


def require_listener(flag: str, address: str, usual_port: int) -> None:
    """See that a TCP connection can be made.

    Args:
        flag: that the address comes from, for the message.
        address: HOST or HOST:PORT.
        usual_port: where the address names none.

    Raises:
        ServiceError: nothing answers; says what to do.
    """
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
    try:
        where = (host, int(port or usual_port))
        socket.create_connection(where, timeout=PATIENCE_SECONDS).close()
    except ValueError:
        raise ServiceError(
            f"{flag} {address}: write HOST:PORT of the cluster's head node, such as "
            f"10.0.0.1:{usual_port}"
        ) from None
    except OSError as error:
        raise ServiceError(
            f"{flag} {address} cannot be reached ({error}): start the cluster (`ray start --head`) "
            "or correct the address"
        ) from error


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
