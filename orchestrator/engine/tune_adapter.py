"""Adapter that turns runs into trials of Ray Tune, with idle trials that keep workers alive."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from orchestrator.sweeping.tasks import Answer, Task
from trainables.errors import NalError

if TYPE_CHECKING:
    from orchestrator.engine.dispatch import Dispatcher

MAX_WORKER_RESTARTS = 3
"""Number of times that Ray restarts the trial of a run whose worker process was lost."""

MAX_INITIAL_IDLE_TRIALS = 8
"""Largest number of idle trials at the start, which start workers before the first runs.

Tune starts workers one after the other. For hundreds of workers this would take long, and gain
nothing if runs take hours.
"""

MAX_IDLE_SECONDS = 60.0
"""Time after which an idle trial is stopped, in seconds.

If other users occupy a part of the cluster, an idle trial could otherwise keep a run from starting.
"""


class TuneAdapter:
    """Adapter that presents runs to Tune as trials, and forwards the trials' reports.

    A slot is the share of the cluster's CPUs and GPUs that one run occupies. Tune ends workers
    without a trial. Tune also assigns a waiting trial to the first free worker, even if another
    worker that has almost started is then ended. If runs take about as long as the start of a
    worker (some seconds to import torch), one worker would carry out all runs. Every slot therefore
    gets an idle trial at first, and again when the slot becomes free while no run can start. For
    each run that is handed out, one idle trial is stopped.

    Attributes:
        finished: whether no more trials will be created, since no run is left or an error affects
            every run.
        error: error to raise after Tune has returned, since Tune would swallow an error that is
            raised earlier; None if no error has occurred.
    """

    def __init__(self, dispatcher: Dispatcher, slot_count: int) -> None:
        """Create the adapter.

        Args:
            dispatcher: object that hands out the runs and receives their reports.
            slot_count: number of runs that the cluster can carry out at a time.
        """
        self._dispatcher = dispatcher
        self._slot_count = slot_count
        self._initial_idle_trials_left = min(slot_count, MAX_INITIAL_IDLE_TRIALS)
        self._tasks: dict[str, Task] = {}
        self._idle_deadlines: dict[str, float] = {}
        self.finished = False
        self.error: BaseException | None = None

    def next_config(self, trial_id: str) -> dict[str, Any] | None:
        """Return the configuration of a new trial, with a run or idle.

        The result is None if no trial can start at present, or if no more trials will follow
        (`finished`).

        Args:
            trial_id: Tune's ID of the trial.
        """
        if self.finished:
            return None
        if self._initial_idle_trials_left:
            self._initial_idle_trials_left -= 1
            return self._add_idle_trial(trial_id)
        try:
            task = self._dispatcher.next()
        except Exception as error:  # noqa: BLE001 - raised after Tune has returned
            self.fail(error)
            return None
        if task is not None:
            self._tasks[trial_id] = task
            while self._idle_deadlines and self._used_slot_count > self._slot_count:
                del self._idle_deadlines[next(iter(self._idle_deadlines))]
            return {
                "spec": task.spec.to_json(),
                "stops_after": list(task.stops_after),
                "reported_epoch": self._dispatcher.reported_epoch(task),
            }
        if self._dispatcher.done:
            self.finished = True
            return None
        has_free_slot = self._used_slot_count < self._slot_count
        return self._add_idle_trial(trial_id) if has_free_slot else None

    @property
    def _used_slot_count(self) -> int:
        """Number of slots in use, including those of runs whose worker was lost."""
        return len(self._tasks) + len(self._idle_deadlines)

    def _add_idle_trial(self, trial_id: str) -> dict[str, Any]:
        self._idle_deadlines[trial_id] = time.monotonic() + MAX_IDLE_SECONDS
        return {"idle": True}

    def fail(self, error: BaseException) -> None:
        """Stop all trials, and store an error to raise after Tune has returned."""
        self.error = error
        self.finished = True

    def should_stop(self, trial_id: str) -> bool:
        """Return whether a trial must stop at its next report."""
        if trial_id in self._tasks:
            return self.error is not None
        return self.finished or time.monotonic() > self._idle_deadlines.get(trial_id, 0.0)

    def report(self, trial_id: str, report: dict[str, Any]) -> None:
        """Forward the metrics in the report of a trial.

        Args:
            trial_id: Tune's ID of the trial.
            report: report as `RunTrainable.step` returned it.
        """
        task = self._tasks.get(trial_id)
        if task is not None:
            try:
                self._dispatcher.report(task, json.loads(report["rows"]))
            except Exception as error:  # noqa: BLE001 - raised after Tune has returned
                self.fail(error)

    def end_trial(self, trial_id: str, report: dict[str, Any] | None, *, lost: bool) -> None:
        """Handle the end of a trial.

        Args:
            trial_id: Tune's ID of the trial.
            report: last report of the trial; None if there was none.
            lost: whether the trial ended because its worker was lost too often.
        """
        self._idle_deadlines.pop(trial_id, None)
        task = self._tasks.pop(trial_id, None)
        if task is None or self.error is not None:  # an error interrupts runs without ending them
            return
        try:
            self._end_run(task, report or {}, lost=lost)
        except Exception as error:  # noqa: BLE001 - raised after Tune has returned
            self.fail(error)

    def _end_run(self, task: Task, report: dict[str, Any], *, lost: bool) -> None:
        if lost:
            losses = MAX_WORKER_RESTARTS + 1
            self._dispatcher.end(task, f"the worker process of the run was lost {losses} times")
            return
        answer = self._dispatcher.report(task, json.loads(report.get("rows", "[]")))
        if "error" in report:
            error = NalError(report["error"])
            error.exit_code = report["exit_code"]
            raise error
        if report.get("stopped") and "crash" not in report and answer is not Answer.STOP:
            actions = {Answer.WAIT: self._dispatcher.park, Answer.CONTINUE: self._dispatcher.resume}
            actions[answer](task)
        else:
            self._dispatcher.end(task, report.get("crash", ""))
