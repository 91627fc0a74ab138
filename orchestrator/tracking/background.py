"""Writing to MLflow in a background thread, so that a sweep does not wait for its store."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Self

from orchestrator.tracking.archive import NO_CODE_FILES
from orchestrator.tracking.tracker import Tracker
from reports.store import check_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from orchestrator.tracking.projection import RunPhase
    from reports.plan_record import CellRecord, PlanRecord
    from trainables.run.result import RunResult

    Operation = Callable[[Tracker], None]


class BackgroundTracker:
    """Context manager that calls the methods of a `Tracker` in a thread, in order.

    MLflow is imported and its database is created in the thread too. An error in the thread is
    raised by the next call, by `flush` or at the end of the context. After an error, nothing more
    is written to MLflow; the same command, run again, writes the missing entries from the records
    of the runs.

    Args:
        uri: URI of the MLflow store.
        artifact_root: folder for MLflow's artifacts; None if the MLflow server chooses the folder.
        study: name of the study and of its MLflow experiment.

    Raises:
        ServiceError: if the MLflow server does not respond within ten seconds.
        HomeError: if the folder of the store's SQLite file cannot be used.
    """

    def __init__(self, uri: str, artifact_root: Path | None, study: str) -> None:
        check_store(uri)
        self._queue: queue.SimpleQueue[Operation | threading.Event | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        # A daemon thread does not keep a failed process alive; incomplete runs are replaced later.
        self._thread = threading.Thread(
            target=self._execute_operations,
            args=(uri, artifact_root, study),
            name="tracker",
            daemon=True,
        )
        self._thread.start()

    def start_sweep(
        self, plan: PlanRecord, study_yaml: str, code_files: Mapping[str, str] = NO_CODE_FILES
    ) -> None:
        """Start or resume a sweep in MLflow, in the thread; see `Tracker.start_sweep`."""
        self._enqueue(lambda tracker: tracker.start_sweep(plan, study_yaml, code_files))

    def update_plan(self, plan: PlanRecord) -> None:
        """Write an updated plan to MLflow, in the thread; see `Tracker.update_plan`."""
        self._enqueue(lambda tracker: tracker.update_plan(plan))

    def record(self, result: RunResult, phase: RunPhase, cell: CellRecord | None = None) -> None:
        """Write a run that has ended to MLflow, in the thread; see `Tracker.record`."""
        self._enqueue(lambda tracker: tracker.record(result, phase, cell))

    def finish_sweep(self, plan: PlanRecord, tables: Mapping[str, str]) -> None:
        """Mark the sweep as finished in MLflow, in the thread; see `Tracker.finish_sweep`."""
        self._enqueue(lambda tracker: tracker.finish_sweep(plan, tables))

    def mark_interrupted(self) -> None:
        """Mark the sweep as killed in MLflow, in the thread; see `Tracker.mark_interrupted`."""
        self._enqueue(lambda tracker: tracker.mark_interrupted())

    def flush(self) -> None:
        """Wait until the thread has executed all earlier calls.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        executed_event = threading.Event()
        self._queue.put(executed_event)
        while not executed_event.wait(timeout=1.0) and self._thread.is_alive():
            pass
        self._raise_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _error_type: object, error: BaseException | None, _traceback: object
    ) -> None:
        """Wait until the thread has executed all calls, and end the thread.

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
