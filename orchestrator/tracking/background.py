"""Tracker in a background thread, so that a sweep does not wait for the MLflow store."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Self

from orchestrator.tracking.archive import NO_CODE
from orchestrator.tracking.tracker import Tracker
from reports.store import check_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from orchestrator.tracking.projection import Purpose
    from reports.plan_record import CellRecord, PlanRecord
    from trainables.run.result import RunResult

    Operation = Callable[[Tracker], None]


class BackgroundTracker:
    """A `Tracker` whose methods return at once; a thread executes them in the order of the calls.

    MLflow is imported and its database is created in the thread too. An error in the thread is
    raised by the next call, by `flush` or at the end of the context. Nothing is written to MLflow
    after an error. If the same command is run again, it writes the missing entries from the records
    of the runs.

    Args:
        uri: URI of the MLflow store.
        artifact_root: folder for MLflow's artifacts; None if the server determines their location.
        study: name of the study and of its MLflow experiment.

    Raises:
        ServiceError: if the MLflow server does not respond within ten seconds.
        HomeError: if the folder of the SQLite file cannot be used.
    """

    def __init__(self, uri: str, artifact_root: Path | None, study: str) -> None:
        check_store(uri)
        self._queue: queue.SimpleQueue[Operation | threading.Event | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        # A daemon thread does not keep a failing driver alive; incomplete runs are replaced later.
        self._thread = threading.Thread(
            target=self._execute_operations,
            args=(uri, artifact_root, study),
            name="tracker",
            daemon=True,
        )
        self._thread.start()

    def start_sweep(
        self, plan: PlanRecord, study_yaml: str, code: Mapping[str, str] = NO_CODE
    ) -> None:
        """Call `Tracker.start_sweep` in the thread."""
        self._enqueue(lambda tracker: tracker.start_sweep(plan, study_yaml, code))

    def update_plan(self, plan: PlanRecord) -> None:
        """Call `Tracker.update_plan` in the thread."""
        self._enqueue(lambda tracker: tracker.update_plan(plan))

    def record(self, result: RunResult, phase: Purpose, cell: CellRecord | None = None) -> None:
        """Call `Tracker.record` in the thread."""
        self._enqueue(lambda tracker: tracker.record(result, phase, cell))

    def finish_sweep(self, plan: PlanRecord, tables: Mapping[str, str]) -> None:
        """Call `Tracker.finish_sweep` in the thread."""
        self._enqueue(lambda tracker: tracker.finish_sweep(plan, tables))

    def mark_interrupted(self) -> None:
        """Call `Tracker.mark_interrupted` in the thread."""
        self._enqueue(lambda tracker: tracker.mark_interrupted())

    def flush(self) -> None:
        """Wait until everything passed to the tracker so far has been written to MLflow.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        written_event = threading.Event()
        self._queue.put(written_event)
        while not written_event.wait(timeout=1.0) and self._thread.is_alive():
            pass
        self._raise_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Wait until everything has been written, then end the thread.

        Raises:
            ServiceError: if the MLflow server has failed and the context raised no error.
            HomeError: if the home folder cannot be written and the context raised no error.
        """
        self._queue.put(None)
        self._thread.join()
        # The first error is the one that the user must see.
        if error is None:
            self._raise_error()

    def _enqueue(self, operation: Operation) -> None:
        self._raise_error()
        self._queue.put(operation)

    def _raise_error(self) -> None:
        if self._error:
            raise self._error

    def _execute_operations(self, uri: str, artifact_root: Path | None, study: str) -> None:
        tracker: Tracker | None = None
        while (operation := self._queue.get()) is not None:
            if isinstance(operation, threading.Event):
                operation.set()
            elif self._error is None:
                try:
                    tracker = tracker or Tracker(uri, artifact_root, study)
                    operation(tracker)
                except Exception as error:  # noqa: BLE001 - raised again in the driver's thread
                    self._error = error
