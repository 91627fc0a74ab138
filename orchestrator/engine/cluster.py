"""Ray, started quietly on this machine, or joined where the user says."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainables.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        yield _resources().get("GPU", 0.0)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _resources() -> dict[str, float]:
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def count_slots(cpus: float, gpus: float) -> int:
    """Return how many runs that need so much each can go at once on the running cluster."""
    has = _resources()
    needs = (("CPU", cpus), ("GPU", gpus))
    return max(1, int(min(has.get(name, 0.0) // each for name, each in needs if each)))
