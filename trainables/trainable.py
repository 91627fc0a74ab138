"""The Ray Tune trainable that trains runs; the only module of this package that imports Ray."""

from __future__ import annotations

import json
import time
from typing import Any

from ray import tune

from trainables.errors import NalError
from trainables.run.spec import RunSpec
from trainables.training.job import Attempt, Job, Opener, describe_crash

REPORT_SECONDS = 0.5
"""Wall time between two reports to the driver, in seconds; shorter runs report once."""
IDLE_SECONDS = 0.05
"""Wall time between two reports of an idle trial, in seconds; it bounds the delay of a stop."""


class RunTrainable(tune.Trainable):
    """Ray Tune trainable that trains one run after another and writes the runs' records.

    Ray's own checkpoints are not used: a run finds its checkpoint by its digest, wherever it is
    continued. The configuration of a trial holds the run's "spec" as canonical
    JSON, the epochs after which it stops ("stops_after"), and the last epoch that was reported to
    the driver ("reported_epoch"); with the key "idle" it keeps a worker ready without a run.

    A report holds the "rows" of the epochs since the previous report, as JSON text, and whether
    the run has "stopped". A `NalError` is reported under "error", any other exception under
    "crash", instead of being raised: it would occur again in a new worker.
    """

    def setup(self, config: dict[str, Any], **bound: Any) -> None:  # noqa: ANN401
        """Open the run that the trial's configuration describes.

        Args:
            config: configuration of the trial.
            bound: `job` and `opener`, which `tune.with_parameters` passes.
        """
        job: Job = bound["job"]
        opener: Opener = bound["opener"]
        self._attempt: Attempt | None = None
        if "idle" in config:
            self.warm_up()
            return
        self._reported_epoch: int = config["reported_epoch"]
        self._stops = [epoch for epoch in config["stops_after"] if epoch > self._reported_epoch]
        self._first_step = True
        self._attempt = Attempt(lambda: opener(RunSpec.from_dict(json.loads(config["spec"])), job))

    def warm_up(self) -> None:
        """Import the training code, so that the first run in this process starts faster."""
        import trainables.training.training_run  # noqa: F401

    def step(self) -> dict[str, Any]:
        """Train for about `REPORT_SECONDS` and return a report.

        The first report of a run follows at once, to announce its start. An idle trial only sleeps.
        """
        attempt = self._attempt
        if attempt is None:
            time.sleep(IDLE_SECONDS)
            return {"done": False}
        deadline = time.monotonic() + (0.0 if self._first_step else REPORT_SECONDS)
        self._first_step = False
        # A run that continues from a checkpoint may be past an epoch at which it stops.
        while attempt.can_advance and not any(epoch <= attempt.epoch for epoch in self._stops):
            if time.monotonic() >= deadline:
                return self._report(attempt, done=False)
            attempt.advance()
        if attempt.can_advance:
            attempt.stop()
        attempt.close()
        return self._report(attempt, done=True)

    def _report(self, attempt: Attempt, *, done: bool) -> dict[str, Any]:
        rows = attempt.rows_since(self._reported_epoch)
        if rows:
            self._reported_epoch = int(rows[-1]["epoch"])
        report = {"done": done, "stopped": attempt.stopped, "rows": json.dumps(rows)}
        if isinstance(attempt.fault, NalError):
            report["error"] = str(attempt.fault)
        elif attempt.fault is not None:
            report["crash"] = describe_crash(attempt.fault)
        return report

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Close the present run and open that of a new configuration in the same process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Close the run, so that other processes can open it."""
        if self._attempt is not None:
            self._attempt.close()
