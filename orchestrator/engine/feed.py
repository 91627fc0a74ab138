"""What Ray Tune is fed with, and what becomes of it: the sweep's tasks and their ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from trainables.errors import UserError
from trainables.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.sweeping.tasks import Task, Work

MAX_FAILURES = 3
"""How often a run may lose its worker before it is given up."""

MOST_WARMED = 8
"""Slots that are given an idle trial at the start; Tune starts workers one after the other, which
is no time lost where hundreds of slots wait for runs of hours."""

IDLE_LIMIT_SECONDS = 60.0
"""No idle trial is longer in the way: others may use the cluster too, so that there may be fewer
slots than were counted."""

UNSEEN = "its result is not under --home: every worker must see the same folder there"


class Listener(Protocol):
    """Is told what goes on."""

    def started(self, task: Task) -> None:
        """A run has been handed out."""

    def reported(self, task: Task, epoch: int, accuracy: float | None) -> None:
        """A run has done so many epochs; its held-out accuracy, if it has one."""

    def ended(self, task: Task) -> None:
        """A run has ended, or was given up."""


class Feed:
    """Hands the sweep's tasks to Ray Tune, and what becomes of them back to the sweep.

    Tune gives a waiting trial the first worker that falls free, even if that means ending another
    one whose start, some seconds for importing torch, is nearly over; and it ends workers for
    which there is no trial. Where runs take about as long, all of them then go through one worker.
    So every slot is first given an idle trial, and whenever the sweep has to wait for a run, so is
    the slot that falls free; an idle trial is stopped for each task that is handed out.
    """

    def __init__(
        self,
        work: Work,
        home: Path,
        listener: Listener,
        config: dict[str, Any],
        slots: int,
    ) -> None:
        self._work = work
        self._home = home
        self._listener = listener
        self._config = config
        self._slots = slots
        self._to_warm = min(slots, MOST_WARMED)
        self._live: dict[str, Task] = {}
        self._idle: dict[str, float] = {}
        self._over = False
        self.fault: BaseException | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return a trial's configuration; None to wait, or when nothing is left (see `over`)."""
        if self._over:
            return None
        if self._to_warm:
            self._to_warm -= 1
            return self._idling(trial_id)
        try:
            task = self._work.next()
        except Exception as error:  # noqa: BLE001 - raised again by `carry_out`, outside Tune
            self.fail(error)
            return None
        if task is not None:
            self._live[trial_id] = task
            while self._idle and self._taken > self._slots:
                del self._idle[next(iter(self._idle))]
            self._listener.started(task)
            return {**self._config, "spec": task.spec.to_json()}
        if self._work.done:
            self._over = True
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
        self._over = True

    @property
    def over(self) -> bool:
        """Whether nothing more will be handed out: all is done, or a fault would meet every run."""
        return self._over

    def stops(self, trial_id: str) -> bool:
        """Tell whether a trial is to be stopped at its next report."""
        if trial_id in self._live:
            return self.fault is not None
        return self._over or time.monotonic() > self._idle.get(trial_id, 0.0)

    def report(self, trial_id: str, report: dict[str, Any]) -> None:
        """Note how far a run is."""
        task = self._live.get(trial_id)
        if task is not None:
            self._listener.reported(task, report["epoch"], report.get("val/accuracy"))

    def complete(self, trial_id: str, report: dict[str, Any] | None, *, lost: bool) -> None:
        """Note that a trial is over; its run's record says what it gave."""
        task = self._live.pop(trial_id, None)
        if task is None:
            self._idle.pop(trial_id, None)
            return
        self._listener.ended(task)
        try:
            if report is not None and "error" in report:
                raise UserError(report["error"])
            result = Record(self._home, task.spec.digest).result()
            crash = (report or {}).get("crash", "")
            lost_often = f"its worker was lost {MAX_FAILURES + 1} times"
            self._work.end(task, result, reason=lost_often if lost else crash or UNSEEN)
        except Exception as error:  # noqa: BLE001 - raised again by `carry_out`, outside Tune
            self.fail(error)
