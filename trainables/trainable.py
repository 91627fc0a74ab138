"""The Ray Tune trainable that trains runs; the only module of this package that imports Ray."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from trainables.errors import NalError
from trainables.run.spec import RunSpec
from trainables.training.job import Attempt, Job, Opener, describe_crash

if TYPE_CHECKING:
    from trainables.node_check import NodeDemand

REPORT_SECONDS = 0.5
"""Approximate wall time between two reports of a run to the driver, in seconds."""
IDLE_SECONDS = 0.05
"""Wall time between two reports of an idle trial, in seconds.

The time is short, since Ray Tune can stop a trial only when the trial reports."""


class RunTrainable(tune.Trainable):
    """Ray Tune trainable that trains runs one after the other and writes their records.

    The configuration of a trial contains the run's "spec" as canonical JSON, the epochs after which
    the run stops ("stops_after"), and the last epoch that was reported to the driver
    ("reported_epoch"). A trial with the key "idle" in its configuration has no run and only keeps a
    worker process ready. "placement" has labels of the nodes on which Ray may place the trial.
    Ray's own checkpoints are not used: a run's checkpoint is found by the digest of its spec, on
    whichever machine the run continues.

    A report contains the "rows" (metrics) of the epochs since the previous report, as JSON text,
    whether the run has "stopped", and Ray's ID of the "node"; where runs may share a GPU, the last
    report of a run that had one to itself also has the "used_gpu_fraction" of its memory. A worker
    on a machine that lacks something opens no run, and reports the "problem". The message of a
    `NalError` is reported under "error", with its "exit_code", and any other exception under
    "crash". Exceptions are not raised, since the worker would then be taken for lost.
    """

    _problem: str | None = None  # not known before the first setup

    def setup(self, config: dict[str, Any], **parameters: Any) -> None:  # noqa: ANN401
        """Open the run that the trial's configuration describes.

        Args:
            config: configuration of the trial.
            parameters: `job` (settings of the sweep), `opener` (function that opens a run) and
                `demand` (what runs need on a machine that others have started, else None), as
                `tune.with_parameters` passes them.
        """
        job: Job = parameters["job"]
        opener: Opener = parameters["opener"]
        demand: NodeDemand | None = parameters["demand"]
        self._attempt: Attempt | None = None
        if self._problem is None:
            self._problem = "" if demand is None else _find_problem(demand, config["gpus"])
        if "idle" in config:
            self.warm_up()
            return
        self._reported_epoch: int = config["reported_epoch"]
        self._stop_epochs = [
            epoch for epoch in config["stops_after"] if epoch > self._reported_epoch
        ]
        self._is_first_step = True
        self._has_trained = False
        # Beside others, the memory of a run could not be told from theirs.
        self._measures_memory = job.runs_per_gpu > 1 and config["gpus"] == 1
        if self._problem:
            return
        self._attempt = Attempt(lambda: opener(RunSpec.from_dict(json.loads(config["spec"])), job))

    def warm_up(self) -> None:
        """Import the training code, so that the first run in this process starts faster."""
        import trainables.training.training_run  # noqa: F401

    def step(self) -> dict[str, Any]:
        """Train for about `REPORT_SECONDS` and return a report for the driver.

        The first report of a run is returned before any training, so that the driver learns of the
        start early. An idle trial only sleeps.
        """
        attempt = self._attempt
        if self._problem:
            return {"done": True, "problem": self._problem, "node": own_node_id()}
        if attempt is None:
            time.sleep(IDLE_SECONDS)
            return {"done": False}
        deadline = time.monotonic() + (0.0 if self._is_first_step else REPORT_SECONDS)
        self._is_first_step = False
        # The checkpoint that a run continues from may be of an epoch after the stop epoch.
        while attempt.can_advance and not any(
            epoch <= attempt.epoch for epoch in self._stop_epochs
        ):
            if time.monotonic() >= deadline:
                return self._report(attempt, done=False)
            attempt.advance()
            self._has_trained = True
        if attempt.can_advance:
            attempt.stop()
        attempt.close()
        return self._report(attempt, done=True)

    def _report(self, attempt: Attempt, *, done: bool) -> dict[str, Any]:
        rows = attempt.rows_since(self._reported_epoch)
        if rows:
            self._reported_epoch = int(rows[-1]["epoch"])
        report = {
            "done": done,
            "stopped": attempt.stopped,
            "rows": json.dumps(rows),
            "node": own_node_id(),
        }
        if done and self._measures_memory and self._has_trained and attempt.exception is None:
            from trainables.training.devices import used_gpu_fraction

            report["used_gpu_fraction"] = used_gpu_fraction()
        if isinstance(attempt.exception, NalError):
            report["error"] = str(attempt.exception)
            report["exit_code"] = attempt.exception.exit_code
        elif attempt.exception is not None:
            report["crash"] = describe_crash(attempt.exception)
        return report

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Close the current run and open the run of a new configuration in the same process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Close the run, so that other processes can open it."""
        if self._attempt is not None:
            self._attempt.close()


def own_node_id() -> str:
    """Return Ray's ID of the node of this worker; "" outside Ray, which would start one."""
    if not ray.is_initialized():
        return ""
    node_id: str = ray.get_runtime_context().get_node_id()
    return node_id


def _find_problem(demand: NodeDemand, gpus: float) -> str:
    """Return what this machine lacks for runs with a number of GPUs; "" if it lacks nothing."""
    from trainables.training.devices import pick_device

    if problem := demand.find_problem(has_gpu=False):
        return problem
    has_gpu = not gpus or pick_device().type == "cuda"
    return "" if has_gpu else "has assigned a GPU to a run that PyTorch cannot use"
