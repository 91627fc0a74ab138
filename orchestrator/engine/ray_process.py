"""The Ray process as the command sees it: its start, the answers to its calls, and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from orchestrator.engine.messages import (
    Call,
    ErrorMessage,
    MemoryLack,
    Notice,
    OrderDone,
    Reply,
    StartOrder,
)
from orchestrator.engine.temp_dirs import remove_stale_temp_dirs
from orchestrator.interpreter import module_command
from trainables.errors import NalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.messages import CarryOutOrder, RunDesk

SILENCE_SECONDS = 120.0
"""Time after which a Ray process that sends no message is taken for lost, in seconds.

It sends one every few seconds, even if no run has anything to report.
"""

STOP_SECONDS = 5.0
"""Time limit for the workers to end their runs after an interrupt, in seconds."""

WAIT_SECONDS = 1.0
"""Longest single wait for a message, in seconds.

Silence is counted in such waits. Time for which the machine or this process was suspended then
counts as one of them.
"""

SIGNAL_SECONDS = 1.0
"""Time that a signal may take to reach all processes of a command, in seconds."""

END_SECONDS = 10.0
"""Time limit for Ray to end, in seconds."""


class RayLostError(Exception):
    """Ray or the Ray process has ended unexpectedly, or sends no message any more."""


class RayProcess:
    """A process that uses Ray in place of this one; see `messages`.

    It is in a session of its own, so that Ctrl-C in the terminal does not reach it.

    Args:
        address: HOST:PORT of the cluster's head node, or "auto" for the cluster of which this
            machine is a node; None to start Ray on this machine.
    """

    def __init__(self, address: str | None) -> None:
        own_end, other_end = socket.socketpair()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        with other_end:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                module_command("orchestrator.engine.ray_main", str(other_end.fileno())),
                pass_fds=[other_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
            )
        self._connection = Connection(own_end.detach())
        self._owes_reply = False
        self._start_order = StartOrder(address)

    def wait_for_start(self, on_notice: Callable[[str], None]) -> None:
        """Wait until Ray was started or the cluster was joined.

        Args:
            on_notice: function that receives lines for the user.

        Raises:
            RayLostError: if the process has ended.
            NalError: if Ray, the cluster or one of its nodes cannot be used.
        """
        self._send(self._start_order)
        while isinstance(message := self._receive(None), Notice):
            on_notice(message.text)
        self._raise_failure(message)

    def carry_out(
        self, order: CarryOutOrder, desk: RunDesk, on_notice: Callable[[str], None]
    ) -> OrderDone | MemoryLack:
        """Let the process carry out an order, and answer its calls.

        Args:
            order: order to carry out.
            desk: object whose methods the process calls.
            on_notice: function that receives lines for the user.

        Raises:
            RayLostError: if the process has ended or sends no message any more.
            NalError: if the order cannot be carried out.
        """
        self._send(order)
        while True:
            message = self._receive(SILENCE_SECONDS)
            if isinstance(message, Call):
                self._owes_reply = True
                self._reply(getattr(desk, message.method)(*message.arguments))
            elif isinstance(message, Notice):
                on_notice(message.text)
            else:
                self._raise_failure(message)
                outcome: OrderDone | MemoryLack = message
                return outcome

    def stop(self) -> None:
        """Let the process stop all runs of its order; end it if that takes too long."""
        deadline = time.monotonic() + STOP_SECONDS
        try:
            if self._owes_reply:
                self._reply(Reply.STOP)
            while not isinstance(message := self._receive(deadline - time.monotonic()), OrderDone):
                if isinstance(message, Call):
                    self._reply(Reply.STOP)
        except BaseException as error:
            self.kill()
            if not isinstance(error, Exception):  # the user is impatient
                raise

    def end(self) -> None:
        """Let Ray end, and the process."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process at once, unless it has ended, and with it Ray on this machine."""
        self._connection.close()
        if self._process.returncode is None:  # else another process may have its ID
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._output.close()
        remove_stale_temp_dirs()

    def last_line(self) -> str:
        """Return the last line that the process, or Ray in it, has printed; "" if there is none."""
        if self._output.closed:
            return ""
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._lost() from error

    def _reply(self, value: object) -> None:
        self._send(value)
        self._owes_reply = False

    def _receive(self, seconds: float | None) -> Any:  # noqa: ANN401 - any message
        """Return the next message.

        Args:
            seconds: longest time to wait, in seconds; None for no limit.

        Raises:
            RayLostError: if the process has ended, or there is no message in time.
        """
        try:
            if seconds is None:
                return self._connection.recv()
            seconds_left = seconds
            while not self._connection.poll(min(WAIT_SECONDS, max(seconds_left, 0.0))):
                seconds_left -= WAIT_SECONDS
                if seconds_left <= 0:
                    raise RayLostError(f"Ray has not answered for {seconds:.0f} s")
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> RayLostError:
        """Return the error for a process that has ended.

        A job scheduler ends a command by a signal to all its processes. Some time is given for the
        signal to arrive here too, which then counts.
        """
        time.sleep(SIGNAL_SECONDS)
        return RayLostError("Ray has ended unexpectedly")

    def _raise_failure(self, message: object) -> None:
        if isinstance(message, ErrorMessage):
            error = NalError(message.message)
            error.exit_code = message.exit_code
            raise error
