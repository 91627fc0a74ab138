"""An MLflow server for tests, and a proxy in front of it that fails as networks and servers do."""

from __future__ import annotations

import http.client
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from command_line import CHECKOUT, PATIENCE_SECONDS
from stores import fresh_store
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOP_HEADERS = ("connection", "keep-alive", "transfer-encoding", "content-length")


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Start an MLflow server that serves artifacts too, and stop it at the end of the context.

    Args:
        folder: empty folder for its database and artifacts.

    Yields:
        Address of the server.
    """
    uri, port = fresh_store(folder), free_port()
    log_path = folder / "server.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri),
                *("--serve-artifacts", "--artifacts-destination", str(folder / "served")),
                *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            ],
            cwd=folder,
            env={
                **os.environ,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "PYTHONPATH": str(CHECKOUT),
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: _answers(port) or process.poll() is not None, PATIENCE_SECONDS)
        assert process.poll() is None, log_path.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class FaultyProxy:
    """A proxy in front of an HTTP server, which can be told to fail.

    Attributes:
        port: port of the proxy, the same after an outage.
        fault: function that receives the number of a request, counted from 1 since the function was
            set, and its method and path. It returns "" to forward the request; "500" to answer with
            this status without forwarding; "drop" to forward the request and close the connection
            without an answer; or "delay" to forward the request after `delay_seconds`.
        delay_seconds: delay of the requests that are delayed, in seconds.
        login: header `Authorization` without which requests are refused; "" for none.
        counts: number of requests by what was done with them.
    """

    def __init__(self, target: str) -> None:
        self._target_host, _, target_port = target.removeprefix("http://").partition(":")
        self._target_port = int(target_port)
        self.delay_seconds = 0.0
        self.login = ""
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server: _ProxyServer | None = None
        self.port = 0
        self.fail_by(lambda _number, _request: "")
        self.start()

    @property
    def uri(self) -> str:
        """Address of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def fail_by(self, fault: Callable[[int, str], str]) -> None:
        """Set the function `fault`, and count requests anew."""
        self.fault = fault
        self._request_count = 0
        self.counts.clear()

    def start(self) -> None:
        """Accept connections."""
        proxy = self

        class Handler(_ProxyHandler):
            def answer(self) -> None:
                proxy.answer(self)

        self._server = _ProxyServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and close the open ones."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.close_connections()
            self._server = None

    def answer(self, handler: _ProxyHandler) -> None:
        """Answer a request, or do not."""
        length = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(length)
        with self._lock:
            self._request_count += 1
            fault = self.fault(self._request_count, f"{handler.command} {handler.path}")
            self.counts[fault] += 1
        if self.login and handler.headers.get("Authorization") != self.login:
            handler.send_whole(401, [], b'{"error_code": "UNAUTHENTICATED", "message": "log in"}')
            return
        if fault == "500":
            handler.send_whole(500, [], b"Internal Server Error")
            return
        if fault == "delay":
            time.sleep(self.delay_seconds)
        connection = http.client.HTTPConnection(self._target_host, self._target_port, timeout=60)
        try:
            connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if fault == "drop":
            handler.close_connection = True
            return
        handler.send_whole(response.status, response.getheaders(), content)


class _ProxyServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[_ProxyHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def close_connections(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        return


class _ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def do_PATCH(self) -> None:
        self.answer()

    def send_whole(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        """Send an answer, with all headers that do not belong to the proxy's own connection."""
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return
