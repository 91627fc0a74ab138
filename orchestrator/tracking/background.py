"""The tracker in a thread of its own, so that a sweep never waits for the store."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Self

from orchestrator.tracking.tracker import Tracker
from reports.store import check_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from orchestrator.tracking.projection import Purpose
    from reports.plan_record import CellRecord, PlanRecord
    from trainables.run.result import RunResult

    Job = Callable[[Tracker], None]


class BackgroundTracker:
    """Takes what a `Tracker` takes, returns at once, and writes in the order it was told.

    Importing MLflow and creating its database happen in the thread too. What fails there is raised
    by the next call, by `flush` or at the end of the context; nothing more is written then, and the
    same command typed again writes what is missing from the runs' records.

    Args:
        uri: of the store.
        artifact_root: folder for artifacts; None leaves the place to the server.
        study: name of the study, and of its experiment.

    Raises:
        ServiceError: the server does not answer (said within ten seconds).
        HomeError: the SQLite file's folder cannot be used.
    """

    def __init__(self, uri: str, artifact_root: Path | None, study: str) -> None:
        check_store(uri)
        self._jobs: queue.SimpleQueue[Job | threading.Event | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        # A daemon, so that a driver that fails elsewhere ends; what is half-written is replaced.
        self._thread = threading.Thread(
            target=self._work, args=(uri, artifact_root, study), name="tracker", daemon=True
        )
        self._thread.start()

    def start_sweep(self, plan: PlanRecord, study_yaml: str) -> None:
        """See `Tracker.start_sweep`."""
        self._tell(lambda tracker: tracker.start_sweep(plan, study_yaml))

    def update_plan(self, plan: PlanRecord) -> None:
        """See `Tracker.update_plan`."""
        self._tell(lambda tracker: tracker.update_plan(plan))

    def record(self, result: RunResult, phase: Purpose, cell: CellRecord | None = None) -> None:
        """See `Tracker.record`."""
        self._tell(lambda tracker: tracker.record(result, phase, cell))

    def finish_sweep(self, plan: PlanRecord, tables: Mapping[str, str]) -> None:
        """See `Tracker.finish_sweep`."""
        self._tell(lambda tracker: tracker.finish_sweep(plan, tables))

    def abandon(self) -> None:
        """See `Tracker.abandon`."""
        self._tell(lambda tracker: tracker.abandon())

    def flush(self) -> None:
        """Wait until all that was told is written.

        Raises:
            ServiceError, HomeError: writing failed.
        """
        written = threading.Event()
        self._jobs.put(written)
        while not written.wait(timeout=1.0) and self._thread.is_alive():
            pass
        self._raise()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Write what is left, then end the thread.

        Raises:
            ServiceError, HomeError: writing failed, and nothing went wrong before.
        """
        self._jobs.put(None)
        self._thread.join()
        # What went wrong first is what the user must see.
        if error is None:
            self._raise()

    def _tell(self, job: Job) -> None:
        self._raise()
        self._jobs.put(job)

    def _raise(self) -> None:
        if self._error:
            raise self._error

    def _work(self, uri: str, artifact_root: Path | None, study: str) -> None:
        tracker: Tracker | None = None
        while (job := self._jobs.get()) is not None:
            if isinstance(job, threading.Event):
                job.set()
            elif self._error is None:
                try:
                    tracker = tracker or Tracker(uri, artifact_root, study)
                    job(tracker)
                except Exception as error:  # noqa: BLE001 - raised again in the driver's thread
                    self._error = error
