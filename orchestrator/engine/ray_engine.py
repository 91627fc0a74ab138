"""Engine that carries out runs on Ray Tune, in a process of its own.

If Ray or this process is lost, a new one takes over, and the runs continue from their checkpoints.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.engine.cluster import MAX_LINE_LENGTH, check_cluster
from orchestrator.engine.dispatch import Dispatcher, forward_interrupts
from orchestrator.engine.messages import CarryOutOrder, MemoryLack, RayRun
from orchestrator.engine.ray_process import RayLostError, RayProcess
from trainables.cpus import usable_cpu_count
from trainables.errors import FieldError, NalError, ServiceError
from trainables.node_check import node_demand
from trainables.training.job import Job, Opener, open_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.engine.base import Listener
    from orchestrator.flags import Locations
    from orchestrator.sweeping.tasks import Answer, Task, TaskSource
    from search_spaces.schema import Resources
    from trainables.node_check import NodeDemand
    from trainables.training.job import Row


STOPPING_NOTICE = "stopping: waiting for the workers to end"
"""Notice that is printed when the user interrupts the engine."""

MAX_RESTARTS_AT_SAME_SIZE = 3
"""Number of restarts after a lack of memory at which no fewer runs at a time are possible."""

MAX_LOSSES_WITHOUT_PROGRESS = 3
"""Number of times that Ray may be lost before any run has made progress again."""


@dataclass
class RayEngine:
    """Engine that carries out many runs at a time on Ray Tune.

    Attributes:
        address: HOST:PORT of a running Ray cluster, or "auto" for the one of which this machine is
            a node; None to start Ray on this machine.
        max_concurrent_runs: largest number of runs at a time; None if only CPUs and GPUs limit it.
        opener: function that opens a run for training, called in a worker; tests pass one that
            opens fake runs.
    """

    address: str | None = None
    max_concurrent_runs: int | None = None
    opener: Opener = open_run
    _process: RayProcess | None = field(default=None, init=False)

    @property
    def starts_workers(self) -> bool:
        """True, since runs are trained in processes that Ray starts."""
        return True

    def check(self, resources: Resources) -> None:
        """Check that the cluster responds, or that this process may use the CPUs for one run.

        Args:
            resources: CPUs and GPUs that one run requires.

        Raises:
            ServiceError: if the cluster does not respond.
            FieldError: if one run requires more CPUs than this process may use; Ray would wait
                forever.
        """
        if self.address is not None:
            check_cluster(self.address)
            return
        cpus = usable_cpu_count()
        if resources.cpus > cpus:
            raise FieldError(
                "resources.cpus",
                f"one run requires {resources.cpus} CPUs, but this process may use {cpus}",
            )

    @contextmanager
    def start(
        self,
        listener: Listener,
    ) -> Iterator[None]:
        """Start Ray on this machine or join the cluster, for the duration of the context.

        Args:
            listener: callbacks, of which `on_notice` is called if the start has to be repeated.

        Raises:
            ServiceError: if Ray or the cluster cannot be used.
        """
        try:
            self._start_process(listener)
            yield
        finally:
            if self._process is not None:
                self._process.end()
                self._process = None

    def _start_process(self, listener: Listener) -> RayProcess:
        """Start a Ray process, in place of the present one if there is one, and return it."""
        if self._process is not None:
            self._process.kill()
        self._process = process = RayProcess(self.address)
        try:
            process.wait_for_start(listener.on_notice)
        except RayLostError as error:
            raise lasting_loss(f"{error} while it was started", process) from error
        except BaseException:
            process.kill()
            raise
        return process

    def carry_out(self, task_source: TaskSource, job: Job, listener: Listener) -> None:
        """Carry out all runs of a task source with Ray, which `start` must have started or joined.

        If Ray's memory monitor kills workers, Ray is started anew, and the runs continue from their
        checkpoints with fewer runs at a time. If Ray is lost, it is started anew too.

        Args:
            task_source: sweep or list that provides the runs and receives their results.
            job: settings that all runs share.
            listener: callbacks on the progress of the runs.

        Raises:
            NalError: if an error occurs that would affect every run, or no run can proceed.
            ServiceError: if the memory does not suffice even for the fewest runs at a time, or Ray
                is lost again and again.
        """
        with nullcontext() if self.address is None else node_demand(job) as demand:
            self._carry_out(task_source, job, listener, demand)

    def _carry_out(
        self, task_source: TaskSource, job: Job, listener: Listener, demand: NodeDemand | None
    ) -> None:
        """Carry out all runs of a task source on nodes that meet a demand; see `carry_out`."""
        if self._process is None:
            raise ValueError("the engine was not started")
        process = self._process
        desk = DispatcherDesk(Dispatcher(task_source, job.home, listener))
        cpus, restarts_left, losses = job.cpus, MAX_RESTARTS_AT_SAME_SIZE, 0
        while True:
            order = CarryOutOrder(job, self.opener, cpus, self.max_concurrent_runs, demand)
            try:
                with forward_interrupts(desk.interrupts.append):
                    outcome = process.carry_out(order, desk, listener.on_notice)
            except RayLostError as error:
                self._require_cluster(error)
                losses = 1 if desk.has_progress else losses + 1
                desk.has_progress = False
                if losses > MAX_LOSSES_WITHOUT_PROGRESS:
                    raise lasting_loss(f"{error}, {losses} times", process) from error
                listener.on_notice(
                    f"{error}: it is started again, and the runs continue from their checkpoints"
                )
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    listener.on_notice(STOPPING_NOTICE)
                process.stop()
                raise
            else:
                if not isinstance(outcome, MemoryLack):
                    return
                restarts_left -= outcome.fewer_cpus == cpus
                if restarts_left < 0:
                    raise ServiceError(
                        "Ray has ended workers because the memory of a machine was nearly full, "
                        "although no fewer runs can be trained at a time: free some memory, or "
                        "reduce the batch size or the network, then type the same command again"
                    )
                listener.on_notice(
                    "Ray has ended workers because the memory of a machine was nearly full: "
                    "continuing from the checkpoints, "
                    + ("with as many" if outcome.fewer_cpus == cpus else "with fewer")
                    + " runs at a time"
                )
                cpus = outcome.fewer_cpus
            process = self._start_process(listener)
            desk.resume_all()

    def _require_cluster(self, loss: RayLostError) -> None:
        """Check that the cluster that was lost can be joined again.

        Raises:
            ServiceError: if the cluster does not respond.
        """
        if self.address is None:
            return
        try:
            check_cluster(self.address)
        except ServiceError as error:
            raise ServiceError(
                f"{loss}, and {error}. Type the same command again when the cluster is back: "
                "recorded runs are not trained again"
            ) from error


def lasting_loss(text: str, process: RayProcess) -> ServiceError:
    """Return the error for a Ray process that cannot be used any more.

    Args:
        text: what has happened.
        process: the process, whose last line of output is added to the text.
    """
    last_line = process.last_line()[:MAX_LINE_LENGTH]
    return ServiceError(
        f"{text}: type the same command again to continue, or add --engine inline"
        + (f" (Ray has printed: {last_line})" if last_line else "")
    )


class DispatcherDesk:
    """The `RunDesk` of a command, which knows runs by their digests, over a dispatcher.

    Attributes:
        has_progress: whether a run has reported metrics or ended since this was set to False.
        interrupts: interrupts by the user, which a library may have swallowed.

    Args:
        dispatcher: object that hands out the runs and receives their reports.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._tasks: dict[str, Task] = {}
        self.has_progress = True
        self.interrupts: list[KeyboardInterrupt] = []

    def next(self) -> RayRun | None:
        """Return the next run to carry out; None if none can start now or no run is left."""
        task = self._dispatcher.next()
        if task is None:
            return None
        digest = task.spec.digest
        self._tasks[digest] = task
        epoch = self._dispatcher.reported_epoch(task)
        return RayRun(digest, task.spec.to_json(), tuple(task.stops_after), epoch)

    def is_done(self) -> bool:
        """Return whether no run is left to carry out."""
        return self._dispatcher.done

    def report(self, digest: str, rows: Sequence[Row]) -> Answer:
        """Report the metrics of a run's new epochs, and return how the run proceeds."""
        self.has_progress |= bool(rows)
        return self._dispatcher.report(self._tasks[digest], rows)

    def end(self, digest: str, reason: str) -> None:
        """Report the end of a run, and the reason why it could not be carried out or ""."""
        self.has_progress = True
        self._dispatcher.end(self._tasks.pop(digest), reason)

    def park(self, digest: str) -> None:
        """Set a stopped run aside until it is answered anew."""
        self._dispatcher.park(self._tasks.pop(digest))

    def resume(self, digest: str) -> None:
        """Queue a stopped run to continue before any new run starts."""
        self._dispatcher.resume(self._tasks.pop(digest))

    def fail(self, message: str, exit_code: int) -> None:
        """Raise an error that affects every run.

        Raises:
            NalError: always.
        """
        error = NalError(message)
        error.exit_code = exit_code
        raise error

    def signal_life(self) -> None:
        """Notice an interrupt that was swallowed.

        Raises:
            KeyboardInterrupt: if the user has interrupted the command.
        """
        if self.interrupts:
            raise self.interrupts[0]

    def resume_all(self) -> None:
        """Queue all runs that are being carried out to continue, after their workers were lost."""
        self._tasks.clear()
        self._dispatcher.resume_all()


def create_engine(locations: Locations) -> RayEngine:
    """Return the engine for the cluster that the flags name, or for Ray on this machine."""
    return RayEngine(locations.ray_address, locations.max_concurrent)
