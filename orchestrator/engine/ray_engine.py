"""Runs on Ray Tune.

Tune holds no truth here. Every start is a fresh Tune run whose searcher hands out what the work
still lacks; a run finds its checkpoint by its digest, and what it gave is in its record.
"""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.engine.cluster import (
    check_nodes,
    count_slots,
    gpus_there,
    own_folder,
    ray_cluster,
    require_cluster,
)
from orchestrator.engine.dispatch import Dispatch, noting_interrupts
from orchestrator.engine.feed import MAX_FAILURES, Feed
from trainables.errors import FieldError
from trainables.training.job import Job, Opener, open_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.engine.base import Listener
    from orchestrator.flags import Places
    from orchestrator.sweeping.tasks import Work
    from search_spaces.schema import Resources


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Carries out runs on Ray, many at once.

    Attributes:
        address: HOST:PORT of a running cluster; None to start Ray on this machine.
        opener: opens a run in a worker; tests stand in for the training here.
    """

    address: str | None = None
    opener: Opener = open_run

    @property
    def slots(self) -> None:
        """As many runs at once as the machine has CPUs and GPUs for."""

    def check(self, resources: Resources) -> None:
        """See that the cluster answers, or that this machine has the CPUs that one run asks for.

        Raises:
            ServiceError: it does not answer.
            FieldError: it has not; Ray would wait for them for ever.
        """
        if self.address is not None:
            require_cluster(self.address)
            return
        there = os.cpu_count() or 1
        if resources.cpus > there:
            raise FieldError(
                "resources.cpus",
                f"one run asks for {resources.cpus} CPUs, this machine has {there}",
            )

    @contextmanager
    def opened(self, home: Path) -> Iterator[None]:
        """Start Ray, or join the cluster.

        Raises:
            ServiceError: the cluster, or one of its nodes, cannot be used.
        """
        with ray_cluster(self.address):
            if self.address is not None:
                check_nodes(home)
            yield

    def carry_out(self, work: Work, job: Job, listener: Listener) -> None:
        """Carry out runs until the work is done, on the Ray that `opened` started.

        Raises:
            NalError: a fault that would meet every run, or nothing can go on.
        """
        from ray import tune
        from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner

        from orchestrator.engine.searcher import FeedSearcher, FeedStopper
        from trainables.trainable import RunTrainable

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        gpus = job.gpus if gpus_there() else 0.0
        feed = Feed(Dispatch(work, job.home, listener), count_slots(job.cpus, gpus))
        trainable = tune.with_parameters(RunTrainable, job=job, opener=self.opener)
        with own_folder() as storage, noting_interrupts(feed.fail):
            Tuner(
                tune.with_resources(trainable, {"cpu": job.cpus, "gpu": gpus}),
                tune_config=TuneConfig(
                    search_alg=FeedSearcher(feed), num_samples=-1, reuse_actors=True
                ),
                run_config=RunConfig(
                    name=uuid.uuid4().hex[:8],
                    storage_path=storage,
                    stop=FeedStopper(feed),
                    verbose=0,
                    checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                    failure_config=FailureConfig(max_failures=MAX_FAILURES),
                ),
            ).fit()
        if feed.fault is not None:
            raise feed.fault


def from_places(places: Places) -> RayEngine:
    """Return the engine on the cluster that flags name, or on a Ray of its own."""
    return RayEngine(places.ray_address)
