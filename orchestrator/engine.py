"""Ray: starting it quietly, and carrying out a sweep's runs on it.

Ray Tune holds no truth here. Every start is a fresh Tune run whose searcher hands out what the
sweep still lacks; a run finds its checkpoint by its digest, and what it gave is in its record.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainables.errors import NalError, ServiceError
from trainables.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Protocol

    from ray.tune import Trainable

    from orchestrator.sweep import Sweep, Task

    class Listener(Protocol):
        """Is told what goes on."""

        def started(self, task: Task) -> None:
            """A run has been handed out."""

        def reported(self, task: Task, epoch: int, accuracy: float | None) -> None:
            """A run has done so many epochs; its held-out accuracy, if it has one."""

        def ended(self, task: Task) -> None:
            """A run has ended, or was given up."""


QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""No output, no statistics sent, no snapshots of an experiment that is never restored; and a worker
that is given no GPU sees none."""

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Makes a local Ray take 127.0.0.1 as its address, as it does on macOS by default: its servers
then listen on the loopback interface only. Read when ray is imported."""

UNSEEN = "its result is not under --home: every worker must see the same folder there"

MAX_FAILURES = 3
"""How often a run may lose its worker before it is given up."""


@contextmanager
def ray_cluster(address: str | None) -> Iterator[float]:
    """Start Ray on this machine, or join the cluster at `address`; yield its number of GPUs.

    A cluster that happens to run here is never joined unasked, and a local one listens on the
    loopback interface only.

    Raises:
        ServiceError: the cluster does not answer.
    """
    os.environ.update(QUIET)
    if address is None:
        os.environ.update(LOOPBACK)
    import ray

    # Sockets live in Ray's folder, and their paths may have no more than 107 bytes.
    folder = tempfile.mkdtemp(prefix="nal-", dir="/tmp" if os.path.isdir("/tmp") else None)  # noqa: S108, PTH112
    local: dict[str, Any] = {
        "_temp_dir": folder,
        "include_dashboard": False,
        "num_cpus": os.cpu_count(),
    }
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else local),
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        where = f"--ray-address {address}" if address else "Ray on this machine"
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        raise ServiceError(f"{where} cannot be used: {reason}") from error
    try:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield resources.get("GPU", 0.0)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


class Feed:
    """Hands the sweep's tasks to Ray Tune, and what becomes of them back to the sweep."""

    def __init__(
        self, sweep: Sweep, home: Path, listener: Listener, config: dict[str, Any]
    ) -> None:
        self._sweep = sweep
        self._home = home
        self._listener = listener
        self._config = config
        self._live: dict[str, Task] = {}
        self.fault: Exception | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a trial's configuration; None to wait; "FINISHED" when nothing is left."""
        from ray.tune.search import Searcher

        if self.fault is not None:
            return str(Searcher.FINISHED)
        try:
            task = self._sweep.next()
        except Exception as error:  # noqa: BLE001 - raised again by `carry_out`, outside Tune
            self.fault = error
            return str(Searcher.FINISHED)
        if task is None:
            return str(Searcher.FINISHED) if self._sweep.done else None
        self._live[trial_id] = task
        self._listener.started(task)
        return {**self._config, "spec": task.spec.to_json()}

    def report(self, trial_id: str, report: dict[str, Any]) -> None:
        """Note how far a run is."""
        task = self._live.get(trial_id)
        if task is not None:
            self._listener.reported(task, report["epoch"], report.get("val/accuracy"))

    def complete(self, trial_id: str, report: dict[str, Any] | None, *, lost: bool) -> None:
        """Note that a trial is over; its run's record says what it gave."""
        task = self._live.pop(trial_id, None)
        if task is None:
            return
        self._listener.ended(task)
        try:
            if report is not None and "error" in report:
                raise NalError(report["error"])
            result = Record(self._home, task.spec.digest).result()
            crash = (report or {}).get("crash", "")
            lost_often = f"its worker was lost {MAX_FAILURES + 1} times"
            self._sweep.end(task, result, reason=lost_often if lost else crash or UNSEEN)
        except Exception as error:  # noqa: BLE001 - raised again by `carry_out`, outside Tune
            self.fault = error


def carry_out(
    sweep: Sweep,
    home: Path,
    listener: Listener,
    config: dict[str, Any],
    gpus: float,
    trainable: type[Trainable] | None = None,
) -> None:
    """Run all that the sweep lacks, on the Ray that `ray_cluster` started.

    Args:
        sweep: says what is to be run next.
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

    from orchestrator.searcher import FeedSearcher
    from trainables.trainable import RunTrainable

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    feed = Feed(sweep, home, listener, config)
    storage = tempfile.mkdtemp(prefix="nal-tune-")
    resources = {"cpu": sweep.plan.study.resources.cpus, "gpu": gpus}
    try:
        Tuner(
            tune.with_resources(trainable or RunTrainable, resources),
            tune_config=TuneConfig(
                search_alg=FeedSearcher(feed), num_samples=-1, reuse_actors=True
            ),
            run_config=RunConfig(
                name=uuid.uuid4().hex[:8],
                storage_path=storage,
                verbose=0,
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                failure_config=FailureConfig(max_failures=MAX_FAILURES),
            ),
        ).fit()
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if feed.fault is not None:
        raise feed.fault
