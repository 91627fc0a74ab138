"""Ray clusters of the tests' own: a head node and further nodes on this machine."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

START_SECONDS = 60.0


def free_port() -> int:
    """Return a port that no process uses."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def node_ip() -> str:
    """Return the address of this machine in its network, at which Ray's nodes listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))  # sends nothing
        address: str = probe.getsockname()[0]
        return address


class RayCluster:
    """A Ray cluster whose nodes are processes of this machine.

    Ray refuses a second node on 127.0.0.1, so that the cluster asks for a token.

    Attributes:
        address: HOST:PORT of the head node.
        head: process that has started the head node.
        environment: environment of the nodes, with the token of the cluster if it has one.

    Args:
        folder: folder for the files of Ray, with a short path.
    """

    def __init__(self, folder: Path) -> None:
        self.address = f"{node_ip()}:{free_port()}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "CUDA_"))},
            "PYTHONPATH": os.pathsep.join(sys.path),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        }
        token_file = folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(secrets.token_hex(32))
        self.environment["RAY_AUTH_TOKEN_PATH"] = str(token_file)
        self._folder = folder
        self._processes: list[psutil.Process] = []
        self.head = self._start("--head", f"--port={self.address.rpartition(':')[2]}")

    def add_node(self, *options: str, wrapper: Sequence[str] = ()) -> psutil.Process:
        """Start a further node and return the process that has started it.

        Args:
            options: options of `ray start`.
            wrapper: command that runs the command of the node.
        """
        return self._start(f"--address={self.address}", *options, wrapper=wrapper)

    def _start(self, *options: str, wrapper: Sequence[str] = ()) -> psutil.Process:
        number = len(self._processes)
        log_path = self._folder / f"node{number}.log"
        common = ["--block", "--disable-usage-stats"]
        if not any(option.startswith("--num-cpus") for option in options):
            common.append("--num-cpus=1")
        if "--head" in options:
            common += ["--include-dashboard=false", f"--temp-dir={self._folder}/r"]
        with log_path.open("w") as log:
            process = psutil.Popen(
                [*wrapper, sys.executable, "-m", "ray.scripts.scripts", "start", *options, *common],
                env=self.environment,
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log_path.read_text():
            assert process.poll() is None, log_path.read_text()
            assert time.monotonic() < deadline, log_path.read_text()
            time.sleep(0.1)
        return process

    def kill(self, node: psutil.Process) -> None:
        """Kill all processes of a node, as a power cut would."""
        for process in [node, *node.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()

    def kill_further_nodes(self) -> None:
        """Kill all nodes but the head node."""
        for process in self._processes[1:]:
            if process.is_running():
                self.kill(process)

    def close(self) -> None:
        """Kill all nodes, the head node last."""
        self.kill_further_nodes()
        if self.head.is_running():
            self.kill(self.head)


@contextmanager
def ray_cluster_of_tests(folder: Path) -> Iterator[RayCluster]:
    """Start a cluster with a head node of one CPU, and end it after the context."""
    cluster = RayCluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()
