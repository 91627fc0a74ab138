"""The jobs of a sweep in Slurm: their submission through submitit, their states, and their end."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.interpreter import module_command
from orchestrator.slurm import max_array_size, run_slurm_command, states_of_jobs
from trainables.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.engine.slurm_job import SlurmJob
    from orchestrator.engine.slurm_queue import RunQueue

ACTIVE_STATES = {
    *("COMPLETING", "RESIZING", "RUNNING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"),
}
"""States of a job whose process may still work."""

MAX_REQUEUES = 10**6
"""Number of times that submitit may requeue a job at its time limit: as often as necessary."""

DEFAULT_TIME = "04:00:00"
"""Time limit of a job for which the user has chosen none."""


@dataclass(frozen=True, slots=True)
class JobStates:
    """The jobs of a sweep at one moment.

    Attributes:
        active: IDs of jobs whose process may work.
        waiting: by ID of each job that waits in Slurm's queue, the reason.
        gone: IDs of jobs that have ended since the last look.
    """

    active: frozenset[str]
    waiting: Mapping[str, str]
    gone: frozenset[str]

    @property
    def count(self) -> int:
        """Number of jobs that have not ended."""
        return len(self.active) + len(self.waiting)


@dataclass
class SlurmPool:
    """Jobs that take orders of runs from a queue.

    Attributes:
        queue: queue of the runs.
        options: long options of sbatch with their values, "" for one without a value.
    """

    queue: RunQueue
    options: Mapping[str, str]
    _known: set[str] = field(default_factory=set, init=False)

    def submit(self, function: SlurmJob, count: int) -> None:
        """Submit jobs, as arrays.

        Args:
            function: what each job does.
            count: number of jobs.

        Raises:
            ServiceError: if Slurm refuses them.
        """
        import submitit
        from submitit.core.utils import FailedJobError

        executor: Any = submitit.SlurmExecutor(
            self.queue.logs_folder,
            max_num_timeout=MAX_REQUEUES,
            python=shlex.join(module_command("")[:-2]),
        )
        executor.update_parameters(
            job_name=f"nal-{function.job.study}",
            stderr_to_stdout=True,
            array_parallelism=count,
            additional_parameters={name: value or True for name, value in self.options.items()},
        )
        try:
            array_size = max_array_size()
            for start in range(0, count, array_size):
                jobs = executor.map_array(function, range(start, min(count, start + array_size)))
                self.queue.record_job(jobs[0].job_id.partition("_")[0])
                self._known.update(job.job_id for job in jobs)
        except (FailedJobError, OSError, subprocess.SubprocessError) as error:
            reason = (str(error).strip().splitlines() or ["no message"])[-1]
            raise ServiceError(f"Slurm refuses a job of the sweep ({reason})") from error

    def look(self) -> JobStates:
        """Return the states of all jobs of the queue, also of those that another driver submitted.

        Raises:
            ServiceError: if Slurm does not answer.
        """
        array_ids = self.queue.recorded_jobs()
        states = states_of_jobs(array_ids) if array_ids else {}
        gone = frozenset(self._known - states.keys())
        self._known = set(states)
        for array_id in array_ids - {job_id.partition("_")[0] for job_id in states}:
            self.queue.forget_job(array_id)
        active = frozenset(job for job, (state, _) in states.items() if state in ACTIVE_STATES)
        waiting = {job: reason for job, (_, reason) in states.items() if job not in active}
        return JobStates(active, waiting, gone)

    def cancel(self) -> None:
        """Cancel all jobs of the queue; those that are training write a checkpoint if they can."""
        array_ids = self.queue.recorded_jobs()
        if array_ids:
            with suppress(ServiceError):
                run_slurm_command("scancel", *sorted(array_ids))

    def last_line_of_log(self, job: str) -> str:
        """Return the last line of a job's output that is not Slurm's own, or "".

        Args:
            job: ID of the job.
        """
        with suppress(OSError):
            for path in sorted(self.queue.logs_folder.glob(f"{job}_*.out")):
                lines = path.read_text(errors="replace").strip().splitlines()
                for line in reversed(lines):
                    if not line.startswith(("srun: ", "slurmstepd: ")):
                        return line
        return ""
