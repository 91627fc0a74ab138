"""What Ray Tune is fed with: a work's runs as trials, and idle trials that keep workers warm."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from orchestrator.sweeping.tasks import Answer, Task
from trainables.errors import UserError

if TYPE_CHECKING:
    from orchestrator.engine.dispatch import Dispatch

MAX_FAILURES = 3
"""How often a run may lose its worker before it is given up."""

MOST_WARMED = 8
"""Slots that are given an idle trial at the start; Tune starts workers one after the other, which
is no time lost where hundreds of slots wait for runs of hours."""

IDLE_LIMIT_SECONDS = 60.0
"""No idle trial is longer in the way: others may use the cluster too, so that there may be fewer
slots than were counted."""


class Feed:
    """Turns runs into Tune's trials, and Tune's reports into rows and ends of runs.

    Tune gives a waiting trial the first worker that falls free, even if that means ending another
    one whose start, some seconds for importing torch, is nearly over; and it ends workers for
    which there is no trial. Where runs take about as long, all of them then go through one worker.
    So every slot is first given an idle trial, and whenever the work has to wait for a run, so is
    the slot that falls free; an idle trial is stopped for each run that is handed out.

    Attributes:
        over: whether nothing more will be handed out: all is done, or a fault would meet every run.
        fault: raised again outside Tune, whose code would swallow it.
    """

    def __init__(self, dispatch: Dispatch, slots: int) -> None:
        self._dispatch = dispatch
        self._slots = slots
        self._to_warm = min(slots, MOST_WARMED)
        self._live: dict[str, Task] = {}
        self._idle: dict[str, float] = {}
        self.over = False
        self.fault: BaseException | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return a trial's configuration; None to wait, or when nothing is left (see `over`)."""
        if self.over:
            return None
        if self._to_warm:
            self._to_warm -= 1
            return self._idling(trial_id)
        try:
            task = self._dispatch.next()
        except Exception as error:  # noqa: BLE001 - see `fault`
            self.fail(error)
            return None
        if task is not None:
            self._live[trial_id] = task
            while self._idle and self._taken > self._slots:
                del self._idle[next(iter(self._idle))]
            return {
                "spec": task.spec.to_json(),
                "stops_after": list(task.stops_after),
                "heard": self._dispatch.heard(task),
            }
        if self._dispatch.done:
            self.over = True
            return None
        return self._idling(trial_id) if self._taken < self._slots else None

    @property
    def _taken(self) -> int:
        """Slots that are spoken for; a run that lost its worker keeps its claim to one."""
        return len(self._live) + len(self._idle)

    def _idling(self, trial_id: str) -> dict[str, Any]:
        self._idle[trial_id] = time.monotonic() + IDLE_LIMIT_SECONDS
        return {"idle": True}

    def fail(self, error: BaseException) -> None:
        """End the sweep with a fault."""
        self.fault = error
        self.over = True

    def stops(self, trial_id: str) -> bool:
        """Tell whether a trial is to be stopped at its next report."""
        if trial_id in self._live:
            return self.fault is not None
        return self.over or time.monotonic() > self._idle.get(trial_id, 0.0)

    def report(self, trial_id: str, report: dict[str, Any]) -> None:
        """Pass on what a run has measured."""
        task = self._live.get(trial_id)
        if task is not None:
            try:
                self._dispatch.report(task, json.loads(report["rows"]))
            except Exception as error:  # noqa: BLE001 - see `fault`
                self.fail(error)

    def complete(self, trial_id: str, report: dict[str, Any] | None, *, lost: bool) -> None:
        """Take note that a trial is over: its run has ended, was stopped, or is lost."""
        self._idle.pop(trial_id, None)
        task = self._live.pop(trial_id, None)
        if task is None or self.fault is not None:  # a fault cuts runs off: they have not ended
            return
        try:
            self._complete(task, report or {}, lost=lost)
        except Exception as error:  # noqa: BLE001 - see `fault`
            self.fail(error)

    def _complete(self, task: Task, report: dict[str, Any], *, lost: bool) -> None:
        if lost:
            self._dispatch.end(task, f"its worker was lost {MAX_FAILURES + 1} times")
            return
        answer = self._dispatch.report(task, json.loads(report.get("rows", "[]")))
        if "error" in report:
            raise UserError(report["error"])
        if report.get("stopped") and "crash" not in report and answer is not Answer.STOP:
            follow = {Answer.WAIT: self._dispatch.set_aside, Answer.CONTINUE: self._dispatch.go_on}
            follow[answer](task)
        else:
            self._dispatch.end(task, report.get("crash", ""))
