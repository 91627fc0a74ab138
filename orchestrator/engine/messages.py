"""Messages between a command and its Ray process, which uses Ray in place of the command.

Ray ends the process that uses it when its own processes have died. The command therefore keeps all
state, and lets another process use Ray: this process asks for runs and reports on them, and the
command answers. The messages are sent by a pipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.sweeping.tasks import Answer
    from trainables.node_check import NodeDemand
    from trainables.training.job import Job, Opener, Row


@dataclass(frozen=True, slots=True)
class RayRun:
    """A run to carry out, as the Ray process knows it.

    Attributes:
        digest: digest of the run.
        spec: spec of the run as canonical JSON.
        stops_after: epochs after which the run stops until its report is answered.
        reported_epoch: last epoch whose metrics were reported, or 0.
    """

    digest: str
    spec: str
    stops_after: tuple[int, ...]
    reported_epoch: int


class RunDesk(Protocol):
    """Interface through which the Ray process gets runs, and reports on them by their digests.

    In the Ray process, each method raises `StopError` if all runs are to be stopped.
    """

    def next(self) -> RayRun | None:
        """Return the next run to carry out; None if none can start now or no run is left."""

    def is_done(self) -> bool:
        """Return whether no run is left to carry out."""

    def report(self, digest: str, rows: Sequence[Row]) -> Answer:
        """Report the metrics of a run's new epochs, and return how the run proceeds."""

    def end(self, digest: str, reason: str) -> None:
        """Report the end of a run, and the reason why it could not be carried out or ""."""

    def park(self, digest: str) -> None:
        """Set a stopped run aside until it is answered anew."""

    def resume(self, digest: str) -> None:
        """Queue a stopped run to continue before any new run starts."""

    def fail(self, message: str, exit_code: int) -> None:
        """Report an error that affects every run, and the exit code that the command then has."""

    def signal_life(self) -> None:
        """Report that Ray still works, although no run may have anything to report."""


class StopError(Exception):
    """All runs are to be stopped."""


# --- to the Ray process


@dataclass(frozen=True, slots=True)
class StartOrder:
    """Order to start Ray on this machine or to join a cluster; the first message.

    Attributes:
        address: HOST:PORT of the cluster's head node, or "auto" for the cluster of which this
            machine is a node; None to start Ray on this machine.
    """

    address: str | None


@dataclass(frozen=True, slots=True)
class CarryOutOrder:
    """Order to carry out runs until none is left.

    Attributes:
        job: settings that all runs share.
        opener: function that opens a run for training, called in a worker.
        cpus: number of CPUs that one run occupies.
        max_concurrent: largest number of runs at a time; None if only CPUs and GPUs limit it.
        demand: what the runs need on a node; None if the nodes need no check, since Ray was started
            for this command.
    """

    job: Job
    opener: Opener
    cpus: int
    max_concurrent: int | None = None
    demand: NodeDemand | None = None


class Reply(Enum):
    """Reply to a call that has no value."""

    STOP = auto()
    """All runs are to be stopped."""


# --- from the Ray process


@dataclass(frozen=True, slots=True)
class Call:
    """Call of a method of `RunDesk`, which waits for its value or `Reply.STOP`.

    Attributes:
        method: name of the method.
        arguments: arguments of the method.
    """

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for the user, which waits for no reply.

    Attributes:
        text: the line.
    """

    text: str


@dataclass(frozen=True, slots=True)
class OrderDone:
    """An order was carried out, or was ended by `Reply.STOP`."""


@dataclass(frozen=True, slots=True)
class MemoryLack:
    """An order has ended early, since Ray has killed workers to free memory.

    Attributes:
        fewer_cpus: number of CPUs per run at which fewer runs are carried out at a time; that of
            the order if there is none.
    """

    fewer_cpus: int


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """The Ray process ends because of an error of the user or the machine.

    Attributes:
        message: message of the error.
        exit_code: exit code that the command then has.
    """

    message: str
    exit_code: int
