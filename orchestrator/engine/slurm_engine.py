"""Engine that carries out runs in jobs of Slurm, without an allocation for the driver.

The jobs take runs from a queue of files in the home folder, one after the other. They are submitted
in arrays through submitit.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.engine.dispatch import Dispatcher, forward_interrupts
from orchestrator.engine.slurm_job import SlurmJob
from orchestrator.engine.slurm_pool import DEFAULT_TIME, JobStates, SlurmPool
from orchestrator.engine.slurm_queue import RunOrder, RunQueue, RunReport
from orchestrator.slurm import check_job_script, parse_options, sbatch_lines
from orchestrator.sweeping.tasks import Answer, Task, TaskSource
from reports.words import format_count
from trainables.errors import NalError, ServiceError, UserError
from trainables.training.job import Job, Opener, open_run

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from orchestrator.engine.base import Listener
    from orchestrator.flags import Locations
    from search_spaces.schema import Resources

DEFAULT_MAX_JOBS = 8
"""Number of jobs at a time for which the user has chosen none."""

POLL_SECONDS = 0.5
"""Time between two looks at the reports of the jobs, in seconds."""

LOOK_SECONDS = 5.0
"""Time between two looks at the states of the jobs in Slurm, in seconds."""

MAX_LOSSES = 3
"""Number of times in a row that jobs may die before they make progress: of one run, or at all."""


@dataclass(frozen=True, slots=True)
class SlurmEngine:
    """Engine that trains in jobs of Slurm.

    Attributes:
        options: long options of sbatch for the jobs, "" for one without a value.
        max_jobs: largest number of jobs at a time, each of which carries out one run at a time.
        opener: function that opens a run for training, called in a job; tests pass one that opens
            fake runs.
    """

    options: dict[str, str] = field(default_factory=dict)
    max_jobs: int = DEFAULT_MAX_JOBS
    opener: Opener = open_run

    @property
    def max_concurrent_runs(self) -> int:
        """Largest number of runs at a time."""
        return self.max_jobs

    @property
    def starts_workers(self) -> bool:
        """True, since runs are trained in jobs, which may wait in Slurm's queue."""
        return True

    def check(self, resources: Resources) -> None:
        """Check that jobs can be submitted, and that Slurm accepts their options.

        Args:
            resources: CPUs and GPUs that one run requires.

        Raises:
            ServiceError: if submitit is not installed, or Slurm refuses the options.
        """
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise ServiceError(
                f"--engine slurm: submitit cannot be imported ({error}): "
                "pip install 'nal-orchestrator[slurm]'"
            ) from error
        lines = sbatch_lines(self._all_options(resources.cpus))
        check_job_script(f"#!/bin/bash\n{lines}\n")

    def _all_options(self, cpus: int) -> dict[str, str]:
        return {"cpus-per-task": str(cpus), "time": DEFAULT_TIME, **self.options}

    def start(
        self,
        listener: Listener,  # noqa: ARG002 - of `Engine`
    ) -> AbstractContextManager[None]:
        """Return a context that does nothing: jobs are submitted when there are runs."""
        return nullcontext()

    def carry_out(self, task_source: TaskSource, job: Job, listener: Listener) -> None:
        """Carry out all runs of a task source in jobs.

        If another driver of the same study was killed, its jobs go on, and their runs are used.

        Args:
            task_source: sweep or list that provides the runs and receives their results.
            job: settings that all runs share.
            listener: callbacks on the progress of the runs.

        Raises:
            NalError: if an error occurs that would affect every run, or no run can proceed.
            ServiceError: if Slurm refuses all jobs, or jobs die again and again.
        """
        options = self._all_options(job.cpus)
        settings = hashlib.sha256(repr((job, options)).encode()).hexdigest()
        queue = RunQueue(job.home / "slurm" / f"runs-{settings[:12]}")
        queue.create()
        driver = _Driver(
            Dispatcher(task_source, job.home, listener),
            SlurmPool(queue, options),
            SlurmJob(queue, job, self.opener),
            self.max_jobs,
            listener,
        )
        interrupts: list[KeyboardInterrupt] = []
        try:
            with forward_interrupts(interrupts.append):
                while driver.advance():
                    if interrupts:
                        raise interrupts[0]
                    time.sleep(POLL_SECONDS)
        finally:
            driver.pool.cancel()
        shutil.rmtree(queue.folder, ignore_errors=True)


class _Driver:
    """The driver's side of the queue: it orders runs, reads reports, and keeps jobs alive."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        pool: SlurmPool,
        function: SlurmJob,
        max_jobs: int,
        listener: Listener,
    ) -> None:
        self.pool = pool
        self._dispatcher = dispatcher
        self._queue = pool.queue
        self._function = function
        self._max_jobs = max_jobs
        self._listener = listener
        self._tasks: dict[str, Task] = {}
        self._order_ids: dict[str, str] = {}
        self._versions: dict[str, object] = {}
        self._epochs: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._failed_starts = 0
        self._order_count = 0
        self._next_look = 0.0
        self._notice = ""

    def advance(self) -> bool:
        """Order runs, process reports and look after the jobs; return whether runs are left."""
        while len(self._tasks) < self._max_jobs and (task := self._dispatcher.next()) is not None:
            self._tasks[task.spec.digest] = task
            self._order(task)
        self._read_reports()
        if self._tasks and time.monotonic() >= self._next_look:
            self._look_after_jobs()
            self._next_look = time.monotonic() + LOOK_SECONDS
        return bool(self._tasks) or not self._dispatcher.done

    def _order(self, task: Task) -> None:
        """Order a run, unless a job has taken the same order from an earlier driver."""
        digest, reported_epoch = task.spec.digest, self._dispatcher.reported_epoch(task)
        stops_after = [epoch for epoch in task.stops_after if epoch > reported_epoch]
        self._versions.pop(digest, None)
        for orders in self._queue.taken_orders().values():
            for order in orders:
                if order.digest == digest and list(order.stops_after) == stops_after:
                    self._order_ids[digest] = order.order_id
                    return
        self._queue.remove(digest)
        self._order_count += 1
        self._order_ids[digest] = order_id = f"{os.getpid()}-{time.time_ns()}-{self._order_count}"
        self._queue.add(RunOrder(order_id, digest, task.spec.to_dict(), stops_after))

    def _read_reports(self) -> None:
        for task in list(self._tasks.values()):
            self._read_report(task)

    def _read_report(self, task: Task) -> None:
        """Process the latest report on a run, if it is new.

        Raises:
            NalError: if the job reports an error that affects every run.
        """
        digest = task.spec.digest
        version = self._queue.report_version(digest)
        if version is None or version == self._versions.get(digest):
            return
        self._versions[digest] = version
        report = self._queue.read_report(digest)
        if report is None or report.order_id != self._order_ids[digest]:
            return
        if len(report.rows) > self._epochs[digest] or report.has_ended:
            self._failed_starts = self._losses[digest] = 0
            self._epochs[digest] = len(report.rows)
        answer = self._dispatcher.report(task, report.rows)
        if report.has_ended:
            self._end(task, report, answer)

    def _end(self, task: Task, report: RunReport, answer: Answer) -> None:
        digest = task.spec.digest
        self._queue.remove(digest)
        if report.error:
            error = NalError(report.error)
            error.exit_code = report.exit_code
            raise error
        is_stopped = report.is_stopped and not report.crash
        if is_stopped and answer is Answer.CONTINUE:
            self._order(task)
            return
        del self._tasks[digest]
        if is_stopped and answer is Answer.WAIT:
            self._dispatcher.park(task)
        else:
            self._dispatcher.end(task, report.crash)

    def _look_after_jobs(self) -> None:
        """Give back the orders of jobs that have died, and submit as many jobs as runs need.

        Raises:
            ServiceError: if jobs die again and again, or Slurm refuses all of them.
        """
        taken = self._queue.taken_orders()  # before the look: who has taken an order was active
        try:
            states = self.pool.look()
        except ServiceError as error:
            self._tell(f"Slurm does not answer ({error}): asking again; jobs go on meanwhile")
            return
        for job in (taken.keys() - states.active) | states.gone:
            had_orders = self._give_back(job, is_requeued=job in states.waiting)
            if job in states.gone and not self._queue.pop_farewell(job) and not had_orders:
                self._count_failed_start(job)
        self._read_reports()  # jobs that have ended since may have carried out their runs
        missing_count = len(self._tasks) - states.count
        if missing_count > 0:
            self._submit(missing_count, states)
        elif not states.active and states.waiting:
            reasons = ", ".join(sorted(set(states.waiting.values())))
            self._tell(
                f"{format_count(len(states.waiting), 'job')} waiting in Slurm's queue ({reasons})"
            )

    def _give_back(self, job: str, *, is_requeued: bool) -> bool:
        """Give back the orders of a job that works no longer, and end runs that kill their jobs.

        Returns:
            Whether the job had orders.
        """
        orders = self._queue.release(job)
        for order in orders:
            task = self._tasks.get(order.digest)
            if task is None or order.order_id != self._order_ids[order.digest]:
                self._queue.remove(order.digest)
                continue
            self._losses[order.digest] += 1
            if self._losses[order.digest] < MAX_LOSSES:
                end = "was requeued" if is_requeued else "has died"
                self._listener.on_notice(
                    f"job {job} {end}: its run continues from its checkpoint in another job"
                )
                continue
            self._queue.remove(order.digest)
            del self._tasks[order.digest]
            self._dispatcher.end(
                task,
                f"{MAX_LOSSES} jobs of Slurm died before they had trained one more epoch; the "
                f"last one, {job}, wrote: {self.pool.last_line_of_log(job) or 'nothing'}",
            )
        return bool(orders)

    def _count_failed_start(self, job: str) -> None:
        """Count a job that has ended without carrying out a run.

        Raises:
            ServiceError: if there were too many in a row.
        """
        self._failed_starts += 1
        if self._failed_starts >= MAX_LOSSES:
            line = self.pool.last_line_of_log(job)
            raise ServiceError(
                f"{MAX_LOSSES} jobs of Slurm ended before they carried out a run "
                + (f"(job {job}: {line})" if line else f"(job {job} wrote nothing)")
                + ": check that every node can read --home and this installation of Python, and "
                f"see {self._queue.logs_folder}"
            )

    def _submit(self, count: int, states: JobStates) -> None:
        """Submit jobs; that Slurm refuses them is an error if no job is left."""
        try:
            self.pool.submit(self._function, count)
        except ServiceError as error:
            if not states.count:
                raise
            self._tell(f"{error}: going on with {format_count(states.count, 'job')}")

    def _tell(self, notice: str) -> None:
        """Tell the user a notice, unless it is the latest one."""
        if notice != self._notice:
            self._notice = notice
            self._listener.on_notice(notice)


def create_engine(locations: Locations) -> SlurmEngine:
    """Return the engine with the options of sbatch and the number of jobs that flags choose.

    Raises:
        UserError: if an option cannot be chosen, or Slurm would not find the home folder.
    """
    if "%" in str(locations.home_dir):  # submitit does not write it as %%
        raise UserError(
            f"--home {locations.home_dir}: Slurm replaces % and the letter after it in the paths "
            "of the files to which its jobs write: choose a folder without % for --engine slurm"
        )
    return SlurmEngine(
        parse_options(locations.sbatch), locations.max_concurrent or DEFAULT_MAX_JOBS
    )
