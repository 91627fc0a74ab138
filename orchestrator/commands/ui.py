"""The `ui` command, which serves MLflow's web interface for the home folder."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.interpreter import PACKAGE_ROOT, module_command
from orchestrator.output import CommandConsole
from orchestrator.tracking.home_store import open_home_store
from orchestrator.tracking.views import VIEWS
from reports.store import home_database, open_store
from trainables.errors import ServiceError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from rich.console import Console

    from orchestrator.home import Home

SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONWARNINGS": "ignore",
    "PYTHONSAFEPATH": "1",
}
"""Environment variables of the MLflow server.

It has no telemetry, background jobs or warnings, and imports nothing from its working directory:
the home folder, which may come from somebody else. Uvicorn needs `--app-dir` for this as well.
"""

MAX_PRINTED_EXPERIMENTS = 3
"""Largest number of experiments whose views are printed."""

POLL_SECONDS = 0.2
"""Time between two attempts to connect to the server while it starts, in seconds."""


def run(home: Home, host: str, port: int) -> int:
    """Serve MLflow's web interface until the user interrupts it, and return the exit code.

    Args:
        home: home folder with the MLflow store.
        host: network interface to listen on.
        port: port to listen on.

    Raises:
        ServiceError: if another process uses the port.
        HomeError: if nothing has been recorded in the home folder, or MLflow cannot open the store.
    """
    store_uri = open_home_store(home)
    client = open_store(store_uri)  # fails in one line, where the server would print a traceback
    if not is_port_free(host, port):
        raise ServiceError(
            f"port {port} of {host} is already in use: choose another port with --port"
        )
    console = CommandConsole()
    console.print(f"MLflow store: {store_uri}")
    # The database is named relative to the home folder: in an absolute address, MLflow does not
    # decode a "%" of the path, and creates an empty folder of the encoded name.
    relative_uri = f"sqlite:///{home_database(home.path).name}"
    server_command = [
        *module_command("mlflow", "server", "--backend-store-uri", relative_uri),
        *("--default-artifact-root", home.artifact_dir.as_uri()),
        *("--host", host, "--port", str(port), "--workers", "1"),
        *("--uvicorn-opts", f"--log-level warning --app-dir {shlex.quote(PACKAGE_ROOT)}"),
    ]
    # A session of its own, so that the server's child processes can be stopped together with it.
    environment = os.environ | SERVER_ENVIRONMENT
    server = subprocess.Popen(  # noqa: S603
        server_command, env=environment, cwd=home.path, start_new_session=True
    )
    try:
        with console.status("starting the server"):
            while server.poll() is None and not _is_listening(host, port):
                time.sleep(POLL_SECONDS)
        if server.poll() is None:
            address = f"http://{host}:{port}"
            console.print(f"Open {address} and choose an experiment, or open one of these views:")
            _print_views(client, address, console)
            console.print("Press Ctrl-C to stop the server.")
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)


def _print_views(client: MlflowClient, server: str, console: Console) -> None:
    """Print the addresses of the views of the experiments that were used last.

    Args:
        client: client of the MLflow store.
        server: address of MLflow's server.
        console: console to print on.
    """
    experiments = client.search_experiments(
        max_results=MAX_PRINTED_EXPERIMENTS + 1, order_by=["last_update_time DESC"]
    )
    with_views = [
        experiment
        for experiment in experiments
        if any(view.tag in experiment.tags for view in VIEWS)
    ]
    for experiment in with_views[:MAX_PRINTED_EXPERIMENTS]:
        console.print(Text(experiment.name), style="bold")
        for view in VIEWS:
            address = view.address(server, experiment.experiment_id)
            console.print(Text(f"  {view.title}: {address}"), soft_wrap=True)


def _is_listening(host: str, port: int) -> bool:
    """Return whether a server accepts connections at a port of a network interface."""
    try:
        with socket.create_connection((host, port), timeout=POLL_SECONDS):
            return True
    except OSError:
        return False


def is_port_free(host: str, port: int) -> bool:
    """Return whether a port of a network interface is free to listen on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
