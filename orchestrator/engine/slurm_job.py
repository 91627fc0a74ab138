"""What a job of Slurm does: it carries out runs one after the other while it has time."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.engine.slurm_queue import RunOrder, RunQueue, RunReport
from trainables.errors import NalError
from trainables.run.spec import RunSpec
from trainables.training.job import Attempt, Job, Opener, describe_crash, gpu_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from submitit.helpers import DelayedSubmission

REPORT_SECONDS = 1.0
"""Wall time between two reports on a run, in seconds."""

IDLE_SECONDS = 60.0
"""Time after which a job that finds no order ends, so that it does not occupy a GPU, in seconds."""

LOOK_SECONDS = 0.5
"""Time between two looks for an order, in seconds."""


@dataclass
class SlurmJob:
    """A job, which submitit pickles and calls on a node.

    Attributes:
        queue: runs to carry out.
        job: settings that all runs share.
        opener: function that opens a run for training.
    """

    queue: RunQueue
    job: Job
    opener: Opener

    def __call__(self, number: int) -> None:  # noqa: ARG002 - argument of an element of the array
        """Carry out runs until none is ordered for a while, or the job has to end.

        Slurm sends a job SIGUSR2 before its time limit: the run that is being trained is stopped
        after its current epoch, with a checkpoint, and submitit requeues the job. SIGTERM, which is
        sent to jobs that are cancelled or preempted, has the same effect without requeueing; Slurm
        itself requeues preempted jobs.
        """
        name = job_name(os.environ)
        # submitit's own handler would requeue the job in the middle of an epoch.
        requeue = signal.getsignal(signal.SIGUSR2)
        signals: list[int] = []
        for signal_number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(signal_number, lambda received, _: signals.append(received))
        has_gpus = any(os.environ.get(key) for key in ("SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE"))
        job = replace(self.job, gpus=self.job.gpus if has_gpus else 0.0)
        os.environ.update(gpu_environment(job.gpus))
        self.queue.pop_farewell(name)
        self.queue.release(name)  # what it had taken before it was requeued by Slurm
        deadline = time.monotonic() + IDLE_SECONDS
        while not signals and time.monotonic() < deadline:
            order = self.queue.take(name)
            if order is None:
                time.sleep(LOOK_SECONDS)
                continue
            self._carry_out(order, name, job, lambda: bool(signals))
            deadline = time.monotonic() + IDLE_SECONDS
        self.queue.release(name)
        self.queue.say_farewell(name)
        if signal.SIGUSR2 in signals and callable(requeue):
            requeue(signal.SIGUSR2, None)

    def checkpoint(self, number: int) -> DelayedSubmission:
        """Return the call with which submitit requeues the job; the records of runs say the rest.

        Args:
            number: number of the job in its array.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, number)

    def _carry_out(
        self, order: RunOrder, name: str, job: Job, must_end: Callable[[], bool]
    ) -> None:
        """Train the run of an order, and report on it.

        Args:
            order: the order.
            name: ID of this job.
            job: settings that all runs share, with the GPUs that this job has.
            must_end: function that returns whether the job has to end after the current epoch.
        """
        attempt = Attempt(lambda: self.opener(RunSpec.from_dict(order.spec), job))
        try:
            next_report = 0.0
            while attempt.can_advance and not must_end() and not _is_at_stop(attempt, order):
                if time.monotonic() >= next_report:
                    self.queue.report(
                        order.digest, RunReport(order.order_id, attempt.rows_since(0))
                    )
                    next_report = time.monotonic() + REPORT_SECONDS
                attempt.advance()
            is_interrupted = attempt.can_advance and not _is_at_stop(attempt, order)
            if attempt.can_advance:
                attempt.stop()
            rows = attempt.rows_since(0)
        finally:
            attempt.close()
        error = attempt.exception
        report = RunReport(
            order.order_id,
            rows,
            has_ended=not is_interrupted,
            is_stopped=attempt.stopped,
            error=str(error) if isinstance(error, NalError) else "",
            exit_code=error.exit_code if isinstance(error, NalError) else 1,
            crash=describe_crash(error),
        )
        self.queue.report(order.digest, report)
        if report.has_ended:
            self.queue.end(name, order.digest)


def _is_at_stop(attempt: Attempt, order: RunOrder) -> bool:
    """Return whether a run has come as far as an epoch at which the order ends.

    The checkpoint from which it continues may be of a later epoch.
    """
    return any(epoch <= attempt.epoch for epoch in order.stops_after)


def job_name(environment: Mapping[str, str]) -> str:
    """Return the ID of the job in whose environment this process runs, as `squeue` prints it."""
    array_id = environment.get("SLURM_ARRAY_JOB_ID")
    if array_id is None:
        return environment["SLURM_JOB_ID"]
    return f"{array_id}_{environment['SLURM_ARRAY_TASK_ID']}"
