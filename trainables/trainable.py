"""The Ray Tune trainable around a run: the only module of this package that imports Ray."""

from __future__ import annotations

import json
import time
from typing import Any

from ray import tune

from trainables.errors import NalError
from trainables.run.spec import RunSpec
from trainables.training.job import Attempt, Job, Opener, describe_crash

REPORT_SECONDS = 0.5
"""Wall time between reports to the driver; shorter runs report once."""
IDLE_SECONDS = 0.05
"""Wall time between reports of an idle trial, which is stopped when its slot is wanted."""


class RunTrainable(tune.Trainable):
    """Trains one run after another; what it leaves is in the runs' records.

    Ray's own checkpoints are not used: a run finds its checkpoint by its digest, wherever and
    whenever it is begun again. The configuration of a trial holds the run's "spec" as canonical
    JSON, the epochs after which it stops ("stops_after"), and the last epoch that was reported to
    the driver ("reported_epoch"); with the key "idle" it keeps a worker ready without a run.

    A report holds the "rows" of the epochs since the one before, as JSON text, and at the end
    whether the run has "stopped". A fault that has an explanation is reported under "error", any
    other under "crash": it would meet the run again, so that a new worker is no help.
    """

    def setup(self, config: dict[str, Any], **bound: Any) -> None:  # noqa: ANN401
        """Open the run that the trial's configuration describes.

        Args:
            config: of the trial.
            bound: the `job` and the `opener`, by `tune.with_parameters`.
        """
        job: Job = bound["job"]
        opener: Opener = bound["opener"]
        self._attempt: Attempt | None = None
        if "idle" in config:
            self.warm_up()
            return
        self._reported_epoch: int = config["reported_epoch"]
        self._stops = [epoch for epoch in config["stops_after"] if epoch > self._reported_epoch]
        self._begun = False
        self._attempt = Attempt(lambda: opener(RunSpec.from_dict(json.loads(config["spec"])), job))

    def warm_up(self) -> None:
        """Import what training needs, so that the first run in this process does not wait."""
        import trainables.training.running  # noqa: F401

    def step(self) -> dict[str, Any]:
        """Train for about `REPORT_SECONDS`; tell what the run has measured.

        The first report of a run comes at once: the run has begun. An idle trial only waits.
        """
        attempt = self._attempt
        if attempt is None:
            time.sleep(IDLE_SECONDS)
            return {"done": False}
        begins, self._begun = not self._begun, True
        deadline = time.monotonic() + (0.0 if begins else REPORT_SECONDS)
        # A run that goes on from a checkpoint may be beyond an epoch to stop after.
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
        """Take up another run in the same process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Let go of the run."""
        if self._attempt is not None:
            self._attempt.close()
