"""Engine that carries out runs on Ray Tune.

Tune's own saved state is not used. Every start of the engine is a new Tune experiment, whose
searcher hands out the runs without a final result. The checkpoint and the result of a run are found
by the digest of the run.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

from orchestrator.engine.cluster import (
    check_cluster,
    check_nodes,
    count_slots,
    cpus_for_fewer_runs,
    has_gpus,
    process_temp_dir,
    ray_cluster,
)
from orchestrator.engine.dispatch import Dispatcher, forward_interrupts
from orchestrator.engine.tune_adapter import MAX_WORKER_RESTARTS, TuneAdapter
from trainables.cpus import usable_cpu_count
from trainables.errors import FieldError, ServiceError
from trainables.training.job import Job, Opener, open_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.engine.base import Listener
    from orchestrator.flags import Locations
    from orchestrator.sweeping.tasks import TaskSource
    from search_spaces.schema import Resources


STOPPING_NOTICE = "stopping: waiting for the workers to end"
"""Notice that is printed when the user interrupts the engine."""

MAX_RESTARTS_AT_SAME_SIZE = 3
"""Number of restarts after a lack of memory at which no fewer runs at a time are possible."""


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Engine that carries out many runs at a time on Ray Tune.

    Attributes:
        address: HOST:PORT of a running Ray cluster; None to start Ray on this machine.
        opener: function that opens a run for training, called in a worker; tests pass one that
            opens fake runs.
    """

    address: str | None = None
    opener: Opener = open_run

    @property
    def max_concurrent_runs(self) -> None:
        """None, since only CPUs and GPUs limit the number of runs at a time."""

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
    def start(self, home: Path, listener: Listener) -> Iterator[None]:
        """Start Ray on this machine or join the cluster, for the duration of the context.

        Args:
            home: home folder, which every node must be able to access.
            listener: callbacks, of which `on_notice` is called if the start has to be repeated, or
                the user interrupts it.

        Raises:
            ServiceError: if Ray, the cluster or one of its nodes cannot be used.
        """
        with (
            forward_interrupts(lambda _interrupt: announce_stop(listener)),
            ray_cluster(self.address, listener.on_notice),
        ):
            if self.address is not None:
                check_nodes(home)
            yield

    def carry_out(self, task_source: TaskSource, job: Job, listener: Listener) -> None:
        """Carry out all runs of a task source with Ray, which `start` must have started or joined.

        If Ray's memory monitor kills workers, Ray is started anew, and the runs continue from their
        checkpoints with fewer runs at a time.

        Args:
            task_source: sweep or list that provides the runs and receives their results.
            job: settings that all runs share.
            listener: callbacks on the progress of the runs.

        Raises:
            NalError: if an error occurs that would affect every run, or no run can proceed.
            ServiceError: if the memory does not suffice even for the fewest runs at a time.
        """
        import ray

        dispatcher = Dispatcher(task_source, job.home, listener)
        cpus, restarts_left = job.cpus, MAX_RESTARTS_AT_SAME_SIZE
        with ExitStack() as stack:
            while not self._carry_out_until_memory_lacks(dispatcher, job, cpus, listener):
                previous_cpus = cpus
                cpus = cpus_for_fewer_runs(cpus, job.gpus if has_gpus() else 0.0)
                if cpus == previous_cpus:
                    if restarts_left == 0:
                        raise ServiceError(
                            "Ray has ended workers because the memory of a machine was nearly "
                            "full, although no fewer runs can be trained at a time: free some "
                            "memory, or reduce the batch size or the network, then type the same "
                            "command again"
                        )
                    restarts_left -= 1
                listener.on_notice(
                    "Ray has ended workers because the memory of a machine was nearly full: "
                    "continuing from the checkpoints, "
                    + ("with as many" if cpus == previous_cpus else "with fewer")
                    + " runs at a time"
                )
                # What is left of Tune in the old session still occupies CPUs.
                ray.shutdown()
                stack.enter_context(ray_cluster(self.address, listener.on_notice))
                dispatcher.resume_all()

    def _carry_out_until_memory_lacks(
        self, dispatcher: Dispatcher, job: Job, cpus: int, listener: Listener
    ) -> bool:
        """Carry out all runs of a dispatcher, unless Ray ends workers for lack of memory.

        Args:
            dispatcher: object that hands out the runs and receives their reports.
            job: settings that all runs share.
            cpus: number of CPUs that one run occupies.
            listener: callbacks, of which `on_notice` is called if the user interrupts the runs.

        Returns:
            Whether all runs have been carried out.

        Raises:
            NalError: if an error occurs that would affect every run, or no run can proceed.
        """
        from ray import tune
        from ray.exceptions import OutOfMemoryError
        from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner

        from orchestrator.engine.searcher import MemoryWatcher, RunSearcher, TrialStopper
        from trainables.trainable import RunTrainable

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        gpus = job.gpus if has_gpus() else 0.0
        adapter = TuneAdapter(dispatcher, count_slots(cpus, gpus))
        trainable = tune.with_parameters(RunTrainable, job=job, opener=self.opener)
        interrupt = partial(interrupt_runs, adapter, listener)
        with process_temp_dir() as storage, forward_interrupts(interrupt):
            tuner = Tuner(
                tune.with_resources(trainable, {"cpu": cpus, "gpu": gpus}),
                tune_config=TuneConfig(
                    search_alg=RunSearcher(adapter), num_samples=-1, reuse_actors=True
                ),
                run_config=RunConfig(
                    name=uuid.uuid4().hex[:8],
                    storage_path=storage,
                    stop=TrialStopper(adapter),
                    callbacks=[MemoryWatcher()],
                    verbose=0,
                    checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                    failure_config=FailureConfig(max_failures=MAX_WORKER_RESTARTS),
                ),
            )
            try:
                tuner.fit()
            except Exception as error:
                if adapter.error is None:
                    if isinstance(error, OutOfMemoryError) or isinstance(
                        error.__cause__, OutOfMemoryError
                    ):
                        return False
                    raise
        if adapter.error is not None:
            raise adapter.error
        return True


def announce_stop(listener: Listener) -> None:
    """Tell the user that the engine is stopping, which takes Ray some seconds.

    The notice comes from a thread of its own, since a signal handler may interrupt this thread in
    the middle of a line.
    """
    Thread(target=listener.on_notice, args=(STOPPING_NOTICE,), daemon=True).start()


def interrupt_runs(adapter: TuneAdapter, listener: Listener, error: KeyboardInterrupt) -> None:
    """Stop all trials, since the user has interrupted the engine, and say so once.

    Args:
        adapter: adapter of the trials.
        listener: callbacks, of which `on_notice` is called.
        error: interrupt to raise after Tune has returned.
    """
    if adapter.error is None:
        announce_stop(listener)
    adapter.fail(error)


def create_engine(locations: Locations) -> RayEngine:
    """Return the engine for the cluster that the flags name, or for Ray on this machine."""
    return RayEngine(locations.ray_address)
