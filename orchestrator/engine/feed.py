"""What Ray Tune is fed with, and what becomes of it: the sweep's tasks and their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from trainables.errors import NalError
from trainables.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.sweeping.sweep import Sweep
    from orchestrator.sweeping.tasks import Task

MAX_FAILURES = 3
"""How often a run may lose its worker before it is given up."""

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
    """Hands the sweep's tasks to Ray Tune, and what becomes of them back to the sweep."""

    def __init__(
        self, sweep: Sweep, home: Path, listener: Listener, config: dict[str, Any]
    ) -> None:
        self._sweep = sweep
        self._home = home
        self._listener = listener
        self._config = config
        self._live: dict[str, Task] = {}
        self.fault: Exception | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a trial's configuration; None to wait; "FINISHED" when nothing is left."""
        from ray.tune.search import Searcher

        if self.fault is not None:
            return str(Searcher.FINISHED)
        try:
            task = self._sweep.next()
        except Exception as error:  # noqa: BLE001 - raised again by `carry_out`, outside Tune
            self.fault = error
            return str(Searcher.FINISHED)
        if task is None:
            return str(Searcher.FINISHED) if self._sweep.done else None
        self._live[trial_id] = task
        self._listener.started(task)
        return {**self._config, "spec": task.spec.to_json()}

    def report(self, trial_id: str, report: dict[str, Any]) -> None:
        """Note how far a run is."""
        task = self._live.get(trial_id)
        if task is not None:
            self._listener.reported(task, report["epoch"], report.get("val/accuracy"))

    def complete(self, trial_id: str, report: dict[str, Any] | None, *, lost: bool) -> None:
        """Note that a trial is over; its run's record says what it gave."""
        task = self._live.pop(trial_id, None)
        if task is None:
            return
        self._listener.ended(task)
        try:
            if report is not None and "error" in report:
                raise NalError(report["error"])
            result = Record(self._home, task.spec.digest).result()
            crash = (report or {}).get("crash", "")
            lost_often = f"its worker was lost {MAX_FAILURES + 1} times"
            self._sweep.end(task, result, reason=lost_often if lost else crash or UNSEEN)
        except Exception as error:  # noqa: BLE001 - raised again by `carry_out`, outside Tune
            self.fault = error
