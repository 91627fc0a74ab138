"""Writing to MLflow in a background thread, so that a sweep does not wait for its store.

The records in the home folder are the truth, and MLflow is written from them. A store that does not
answer therefore stops nothing: what it lacks waits in a queue, in order, and is written when the
store answers again. If that takes too long at the end of a command, the records stay, and `sync` or
the same command writes MLflow later.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TypeVar

from orchestrator.tracking.archive import NO_CODE_FILES, SweepArchive
from orchestrator.tracking.persistence import PersistentTracker
from reports.store import check_store, mask_password
from reports.words import format_count
from trainables.errors import HomeError, RecordError, ServiceError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.home import Home
    from orchestrator.tracking.projection import RunPhase
    from orchestrator.tracking.tracker import Tracker
    from reports.plan_record import CellRecord, PlanRecord
    from reports.store import StoreUnavailableError
    from trainables.run.result import RunResult

    Operation = Callable[[Tracker], None]

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""Longest wait, at the end of a command, for a store that does not answer, in seconds."""

HANG_SECONDS = 900.0
"""Longest wait for one operation of a store that neither fails nor ends it, in seconds."""

INTERRUPTED_PATIENCE_SECONDS = 10.0
"""Longest wait for a store without any progress after an error or an interruption, in seconds."""

SILENT_SECONDS = 5.0
"""Longest wait for a store that answers of which the user is not told, in seconds."""

POLL_SECONDS = 0.1
"""Time between two looks at the thread, in seconds."""


class BackgroundTracker:
    """Context manager that calls the methods of a `Tracker` in a thread, in order.

    MLflow is imported and its database is created in the thread too. Once the store was opened, an
    operation is repeated until the store has carried it out. Any other error in the thread, such as
    that of an experiment that was deleted, is raised by the next call, by `flush` or at the end of
    the context. After such an error, nothing more is written to MLflow; the same command, run
    again, writes the missing entries from the records of the runs.

    Args:
        home: home folder, with the records of the runs.
        uri: URI of the MLflow store.
        study: name of the study and of its MLflow experiment.
        on_notice: callback that receives lines for the user; the thread calls it too.

    Raises:
        ServiceError: if the MLflow server does not respond within ten seconds.
        HomeError: if the folder of the store's SQLite file cannot be used.
    """

    def __init__(self, home: Home, uri: str, study: str, on_notice: Callable[[str], None]) -> None:
        check_store(uri)
        self._home = home
        self._uri = uri
        self._study = study
        self._on_notice = on_notice
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._failure: StoreUnavailableError | None = None  # while the store does not answer
        self._progress_time = time.monotonic()
        self._recorded_count = self._written_count = 0
        self._count_at_failure = 0
        self._tracker: PersistentTracker | None = None
        self._archive: SweepArchive | None = None  # of the sweep that is not written completely
        # A daemon thread does not keep a failed process alive; incomplete runs are replaced later.
        self._thread = threading.Thread(target=self._run_thread, name="tracker", daemon=True)
        self._thread.start()

    def start_sweep(
        self, plan: PlanRecord, study_yaml: str, code_files: Mapping[str, str] = NO_CODE_FILES
    ) -> None:
        """Start or resume a sweep in MLflow, in the thread; see `Tracker.start_sweep`.

        Until the sweep is finished, its archive says that the store may lack a part of it.
        """
        self._archive = SweepArchive.of(self._home.path, plan.sweep)
        self._archive.mark_unwritten(self._uri, None)
        self._enqueue(lambda tracker: tracker.start_sweep(plan, study_yaml, code_files))

    def update_plan(self, plan: PlanRecord) -> None:
        """Write an updated plan to MLflow, in the thread; see `Tracker.update_plan`."""
        self._enqueue(lambda tracker: tracker.update_plan(plan))

    def record(self, result: RunResult, phase: RunPhase, cell: CellRecord | None = None) -> None:
        """Write a run that has ended to MLflow, in the thread; see `Tracker.record`."""
        digest = result.digest
        # During an outage, thousands of results would fill the memory: they are read again later.
        kept_result = None if self._failure else result

        def write(tracker: Tracker) -> None:
            tracker.record(kept_result or self._read_result(digest), phase, cell)
            self._written_count += 1

        self._recorded_count += 1
        self._enqueue(write)

    def finish_sweep(self, plan: PlanRecord, tables: Mapping[str, str]) -> None:
        """Mark the sweep as finished in MLflow, in the thread; see `Tracker.finish_sweep`."""
        self._enqueue(lambda tracker: tracker.finish_sweep(plan, tables))

    def mark_interrupted(self) -> None:
        """Mark the sweep as killed in MLflow, in the thread; see `Tracker.mark_interrupted`."""
        self._enqueue(lambda tracker: tracker.mark_interrupted())

    def flush(self) -> None:
        """Wait until the thread has executed all earlier calls.

        Raises:
            ServiceError: if the MLflow store does not answer for `PATIENCE_SECONDS`, or the
                experiment was deleted.
            HomeError: if the home folder cannot be written.
        """
        self.read(lambda: None)

    def read(self, function: Callable[[], T]) -> T:
        """Call a function that reads the store, in the thread, and return its result.

        All earlier calls are executed before. Like them, the function is called again if the store
        does not answer.

        Args:
            function: function without arguments.

        Raises:
            ServiceError: if the MLflow store does not answer for `PATIENCE_SECONDS`, or the
                experiment was deleted.
            NalError: if the function has raised another error.
        """
        results: list[T] = []
        has_ended = threading.Event()

        def call(_tracker: Tracker) -> None:
            results.append(function())
            has_ended.set()

        self._enqueue(call)
        self._wait(has_ended.wait)
        return results[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _error_type: object, error: BaseException | None, _traceback: object
    ) -> None:
        """Wait until the thread has executed all calls, and end the thread.

        After an error in the context, a store that does not answer is not waited for.

        Raises:
            KeyboardInterrupt: if the context or the wait was interrupted; its text says how many
                runs the store lacks.
            ServiceError: if the MLflow store does not answer for `PATIENCE_SECONDS`, or the
                experiment was deleted; and the context raised no error.
            HomeError: if the home folder cannot be written and the context raised no error.
        """
        self._queue.put(None)
        interruption = error if isinstance(error, KeyboardInterrupt) else None
        try:
            # The first error is the one that the user must see.
            if error is None:
                self._wait(self._thread.join)
            else:
                self._wait_briefly()
        except KeyboardInterrupt as interrupt:
            interruption = interruption or interrupt
        finally:
            if self._tracker:
                self._tracker.close()
            if self._archive:
                self._mark_archive(self._archive)
        if interruption is not None:
            raise KeyboardInterrupt(self._describe_interruption(str(interruption))) from None

    def _describe_interruption(self, text: str) -> str:
        """Add to the text of an interruption how many runs the store lacks."""
        if not self.missing_count:
            return text
        runs_text = format_count(self.missing_count, "run that has ended", "runs that have ended")
        return (
            f"{text or 'interrupted'}; MLflow lacks up to {runs_text} "
            "(`python -m orchestrator sync` writes them too)"
        )

    def _mark_archive(self, archive: SweepArchive) -> None:
        """Record in the archive of the sweep what the store lacks of it at the end."""
        if self._thread.is_alive() or self._error:
            with suppress(HomeError):
                archive.mark_unwritten(self._uri, self.missing_count)
        else:
            archive.mark_written(self._uri)

    def _enqueue(self, operation: Operation) -> None:
        self._raise_error()
        self._queue.put(operation)

    def _raise_error(self) -> None:
        if self._error:
            raise self._error

    def _read_result(self, digest: str) -> RunResult:
        """Read the result of a run that has ended.

        Raises:
            RecordError: if the record of the run is damaged or missing.
        """
        result = Record(self._home.path, digest).read_result()
        if result is None:
            raise RecordError(f"run {digest[:12]} is no longer recorded in {self._home.path}")
        return result

    def _wait(self, wait: Callable[[float], bool | None]) -> None:
        """Wait until an event has happened or the thread has ended.

        Args:
            wait: function that waits for some seconds, and returns whether the event has happened.

        Raises:
            ServiceError: if the store does not answer for `PATIENCE_SECONDS`.
            NalError: if the thread has ended with an error.
        """
        start_time = time.monotonic()
        is_announced = False
        while self._thread.is_alive() and not wait(POLL_SECONDS):
            failure = self._failure
            is_long = time.monotonic() - start_time > SILENT_SECONDS and self.missing_count
            if not is_announced and (failure or is_long):
                is_announced = True
                limit_text = f" for up to {PATIENCE_SECONDS:g} s" if failure else ""
                self._on_notice(f"waiting for MLflow{limit_text}: {self._missing_text()}")
            limit = PATIENCE_SECONDS if failure else HANG_SECONDS
            if time.monotonic() - max(start_time, self._progress_time) > limit:
                reason = failure.reason if failure else f"no answer for {limit:g} s"
                raise ServiceError(
                    f"MLflow at {mask_password(self._uri)} cannot be written "
                    f"({reason}): every run that has ended is recorded in "
                    f"{self._home.path}, and MLflow lacks at most "
                    f"{format_count(self.missing_count, 'run')} of them. When it works, type "
                    "the same command again, or `python -m orchestrator sync`, to write them: "
                    "nothing is trained twice",
                    "sync needs the flags --home and --tracking-uri of this command",
                )
        self._raise_error()

    def _wait_briefly(self) -> None:
        """Wait until the thread has ended, unless the store does not answer."""
        while self._thread.is_alive() and self._failure is None:
            self._thread.join(POLL_SECONDS)
            if time.monotonic() - self._progress_time > INTERRUPTED_PATIENCE_SECONDS:
                return

    @property
    def missing_count(self) -> int:
        """Number of runs that were not written yet, or not compared with the store."""
        return self._recorded_count - self._written_count

    def _missing_text(self) -> str:
        verb = "waits" if self.missing_count == 1 else "wait"
        return f"{format_count(self.missing_count, 'run')} {verb} to be written"

    def _run_thread(self) -> None:
        uri = self._uri
        try:
            self._tracker = PersistentTracker(
                uri, self._home.artifact_dir_for(uri), self._study, self._on_failure
            )
            while (operation := self._queue.get()) is not None:
                self._tracker.execute(operation)
                self._progress_time = time.monotonic()
                if self._failure and self._queue.empty():
                    self._failure = None
                    count = self._written_count - self._count_at_failure
                    self._on_notice(
                        f"MLflow at {mask_password(uri)} works again: "
                        f"{format_count(count, 'run')} {'was' if count == 1 else 'were'} written"
                    )
        except Exception as error:  # noqa: BLE001 - raised again in the driver's thread
            self._error = error

    def _on_failure(self, failure: StoreUnavailableError) -> None:
        """Tell the user that the store does not answer, unless it was told already."""
        is_first, self._failure = self._failure is None, failure
        if is_first:
            self._count_at_failure = self._written_count
            self._on_notice(
                f"MLflow at {mask_password(self._uri)} cannot be written ({failure.reason}): "
                f"training goes on, {self._missing_text()}"
            )
