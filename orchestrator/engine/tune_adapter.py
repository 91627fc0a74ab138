"""Adapter between runs and the trials of Ray Tune, with idle trials that keep workers alive."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from orchestrator.sweeping.tasks import Answer, Task
from trainables.errors import UserError

if TYPE_CHECKING:
    from orchestrator.engine.dispatch import Dispatch

MAX_FAILURES = 3
"""Number of times that a run is started again after its worker process was lost."""

MAX_WARM_SLOTS = 8
"""Largest number of slots (places for a run) that get an idle trial at the start.

Tune starts workers one after the other. With hundreds of slots, starting them all in advance would
take long, and runs that take hours gain nothing from it.
"""

MAX_IDLE_SECONDS = 60.0
"""Time after which an idle trial is stopped, in seconds.

Other users may occupy a part of the cluster, so that there are fewer slots than were counted.
"""


class TuneAdapter:
    """Adapter that presents runs to Tune as trials, and forwards the trials' reports.

    Tune assigns a waiting trial to the first free worker, even if it ends another worker whose
    start (some seconds to import torch) is almost complete; and it ends workers without a trial.
    Where runs take about as long as such a start, one worker would carry out all of them. So every
    slot (place for a run) first gets an idle trial, and so does each slot that becomes free while
    no run can start. One idle trial is stopped for each run that is handed out.

    Attributes:
        finished: whether no more trials will be created, since no run is left or an error affects
            every run.
        error: error to raise after Tune has returned, since Tune's own code would swallow it; None
            if there is none.
    """

    def __init__(self, dispatch: Dispatch, slots: int) -> None:
        """Create the adapter.

        Args:
            dispatch: object that hands out the runs and receives their reports.
            slots: number of runs that the cluster can carry out at a time.
        """
        self._dispatch = dispatch
        self._slots = slots
        self._slots_to_warm = min(slots, MAX_WARM_SLOTS)
        self._tasks: dict[str, Task] = {}
        self._idle_deadlines: dict[str, float] = {}
        self.finished = False
        self.error: BaseException | None = None

    def next_config(self, trial_id: str) -> dict[str, Any] | None:
        """Return the configuration of a new trial.

        None if there is none at present, or if no more trials will follow (`finished`).
        """
        if self.finished:
            return None
        if self._slots_to_warm:
            self._slots_to_warm -= 1
            return self._add_idle_trial(trial_id)
        try:
            task = self._dispatch.next()
        except Exception as error:  # noqa: BLE001 - raised after Tune has returned
            self.fail(error)
            return None
        if task is not None:
            self._tasks[trial_id] = task
            while self._idle_deadlines and self._used_slots > self._slots:
                del self._idle_deadlines[next(iter(self._idle_deadlines))]
            return {
                "spec": task.spec.to_json(),
                "stops_after": list(task.stops_after),
                "reported_epoch": self._dispatch.reported_epoch(task),
            }
        if self._dispatch.done:
            self.finished = True
            return None
        return self._add_idle_trial(trial_id) if self._used_slots < self._slots else None

    @property
    def _used_slots(self) -> int:
        """Number of slots in use, including those of runs that have lost their worker."""
        return len(self._tasks) + len(self._idle_deadlines)

    def _add_idle_trial(self, trial_id: str) -> dict[str, Any]:
        self._idle_deadlines[trial_id] = time.monotonic() + MAX_IDLE_SECONDS
        return {"idle": True}

    def fail(self, error: BaseException) -> None:
        """Stop all trials, and store the error that is raised after Tune has returned."""
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
                self._dispatch.report(task, json.loads(report["rows"]))
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
        if task is None or self.error is not None:  # runs cut off by an error have not ended
            return
        try:
            self._end_run(task, report or {}, lost=lost)
        except Exception as error:  # noqa: BLE001 - raised after Tune has returned
            self.fail(error)

    def _end_run(self, task: Task, report: dict[str, Any], *, lost: bool) -> None:
        if lost:
            self._dispatch.end(task, f"its worker was lost {MAX_FAILURES + 1} times")
            return
        answer = self._dispatch.report(task, json.loads(report.get("rows", "[]")))
        if "error" in report:
            raise UserError(report["error"])
        if report.get("stopped") and "crash" not in report and answer is not Answer.STOP:
            actions = {Answer.WAIT: self._dispatch.park, Answer.CONTINUE: self._dispatch.resume}
            actions[answer](task)
        else:
            self._dispatch.end(task, report.get("crash", ""))
