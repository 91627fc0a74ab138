"""Engine that carries out runs on Ray Tune.

Tune's own saved state is not used. Every start of the engine is a new Tune experiment, whose
searcher hands out the runs without a final result. The checkpoint and the result of a run are found
by the digest of the run.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.engine.cluster import (
    check_cluster,
    check_nodes,
    count_slots,
    has_gpus,
    process_temp_dir,
    ray_cluster,
)
from orchestrator.engine.dispatch import Dispatcher, forward_interrupts
from orchestrator.engine.tune_adapter import MAX_WORKER_RESTARTS, TuneAdapter
from trainables.cpus import usable_cpu_count
from trainables.errors import FieldError
from trainables.training.job import Job, Opener, open_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.engine.base import Listener
    from orchestrator.flags import Locations
    from orchestrator.sweeping.tasks import TaskSource
    from search_spaces.schema import Resources


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
    def start(self, home: Path) -> Iterator[None]:
        """Start Ray on this machine or join the cluster, for the duration of the context.

        Args:
            home: home folder, which every node must be able to access.

        Raises:
            ServiceError: if Ray, the cluster or one of its nodes cannot be used.
        """
        with ray_cluster(self.address):
            if self.address is not None:
                check_nodes(home)
            yield

    def carry_out(self, task_source: TaskSource, job: Job, listener: Listener) -> None:
        """Carry out all runs of a task source with Ray, which `start` must have started or joined.

        Args:
            task_source: sweep or list that provides the runs and receives their results.
            job: settings that all runs share.
            listener: callbacks on the progress of the runs.

        Raises:
            NalError: if an error occurs that would affect every run, or no run can proceed.
        """
        from ray import tune
        from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner

        from orchestrator.engine.searcher import RunSearcher, TrialStopper
        from trainables.trainable import RunTrainable

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        gpus = job.gpus if has_gpus() else 0.0
        adapter = TuneAdapter(
            Dispatcher(task_source, job.home, listener), count_slots(job.cpus, gpus)
        )
        trainable = tune.with_parameters(RunTrainable, job=job, opener=self.opener)
        with process_temp_dir() as storage, forward_interrupts(adapter.fail):
            Tuner(
                tune.with_resources(trainable, {"cpu": job.cpus, "gpu": gpus}),
                tune_config=TuneConfig(
                    search_alg=RunSearcher(adapter), num_samples=-1, reuse_actors=True
                ),
                run_config=RunConfig(
                    name=uuid.uuid4().hex[:8],
                    storage_path=storage,
                    stop=TrialStopper(adapter),
                    verbose=0,
                    checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                    failure_config=FailureConfig(max_failures=MAX_WORKER_RESTARTS),
                ),
            ).fit()
        if adapter.error is not None:
            raise adapter.error


def create_engine(locations: Locations) -> RayEngine:
    """Return the engine for the cluster that the flags name, or for Ray on this machine."""
    return RayEngine(locations.ray_address)
