"""A sweep's runs on Ray Tune.

Tune holds no truth here. Every start is a fresh Tune run whose searcher hands out what the sweep
still lacks; a run finds its checkpoint by its digest, and what it gave is in its record.
"""

from __future__ import annotations

import logging
import shutil
import signal
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.engine.cluster import count_slots, own_folder
from orchestrator.engine.feed import MAX_FAILURES, Feed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray.tune import Trainable

    from orchestrator.engine.feed import Listener
    from orchestrator.sweeping.tasks import Work


def carry_out(
    work: Work,
    home: Path,
    listener: Listener,
    config: dict[str, Any],
    gpus: float,
    trainable: type[Trainable] | None = None,
) -> None:
    """Run all that is wanted, on the Ray that `ray_cluster` started.

    Args:
        work: says what is to be run next.
        home: folder that holds `runs/`; every worker must see it.
        listener: is told what goes on.
        config: what `trainables.trainable.Job` needs beside its spec.
        gpus: per run.
        trainable: what carries out a run; tests stand in for the training here.

    Raises:
        NalError: a fault that would meet every run.
    """
    from ray import tune
    from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner

    from orchestrator.engine.searcher import FeedSearcher, FeedStopper
    from trainables.trainable import RunTrainable

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    cpus = work.plan.study.resources.cpus
    feed = Feed(work, home, listener, config, count_slots(cpus, gpus))
    storage = own_folder()
    tuner = Tuner(
        tune.with_resources(trainable or RunTrainable, {"cpu": cpus, "gpu": gpus}),
        tune_config=TuneConfig(search_alg=FeedSearcher(feed), num_samples=-1, reuse_actors=True),
        run_config=RunConfig(
            name=uuid.uuid4().hex[:8],
            storage_path=storage,
            stop=FeedStopper(feed),
            verbose=0,
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    try:
        with _noting_interrupts(feed):
            tuner.fit()
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if feed.fault is not None:
        raise feed.fault


@contextmanager
def _noting_interrupts(feed: Feed) -> Iterator[None]:
    """See that Ctrl-C ends the sweep even where Ray's code swallows the exception it raises."""

    def interrupt(_number: int, _frame: object) -> None:
        error = KeyboardInterrupt()
        feed.fail(error)
        raise error

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
