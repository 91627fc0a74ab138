"""Repetition of what was written to an MLflow store while it did not answer."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from orchestrator.tracking.tracker import Tracker
from reports.store import StoreUnavailableError, mask_password, root_cause
from trainables.errors import NalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 1.0
"""Pause before an operation is repeated for the first time, in seconds; it is doubled each time."""

MAX_PAUSE_SECONDS = 30.0
"""Longest pause before an operation is repeated, in seconds."""


class PersistentTracker:
    """Writer to an MLflow store that repeats an operation until the store has carried it out.

    Before an operation is repeated, everything is read from the store again, so that what a failed
    attempt has written is neither lost nor written twice.

    Args:
        uri: URI of the MLflow store.
        artifact_root: folder for MLflow's artifacts; None if the MLflow server chooses the folder.
        study: name of the study and of its MLflow experiment.
        on_failure: callback that receives the error of each failed attempt.
        patience_seconds: longest time for which one operation is repeated, in seconds.

    Raises:
        ServiceError: if the MLflow server does not respond within ten seconds.
        HomeError: if the SQLite file or the folder for artifacts cannot be used.
    """

    def __init__(
        self,
        uri: str,
        artifact_root: Path | None,
        study: str,
        on_failure: Callable[[StoreUnavailableError], None],
        patience_seconds: float = math.inf,
    ) -> None:
        self._tracker = Tracker(uri, artifact_root, study)
        self._on_failure = on_failure
        self._patience_seconds = patience_seconds
        self._must_reopen = False
        self._is_closed = threading.Event()

    def execute(self, operation: Callable[[Tracker], T]) -> T:
        """Carry out an operation on the store, and return its result.

        Args:
            operation: function that receives the tracker. It may be called several times.

        Raises:
            StoreUnavailableError: if the store does not answer, and the patience has ended or the
                tracker was closed.
            ServiceError: if the MLflow experiment was deleted.
            HomeError: if the home folder cannot be written.
        """
        deadline = time.monotonic() + self._patience_seconds
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            try:
                if self._must_reopen:
                    self._tracker.reopen()
                    self._must_reopen = False
                return operation(self._tracker)
            except Exception as cause:
                error = _as_outage(cause)
                if error is None:
                    raise
                self._must_reopen = True
                self._on_failure(error)
                is_late = time.monotonic() + pause_seconds > deadline
                if is_late or self._is_closed.wait(pause_seconds):
                    raise error from cause
                pause_seconds = min(2 * pause_seconds, MAX_PAUSE_SECONDS)

    def close(self) -> None:
        """Stop repeating the current operation; any thread may call this."""
        self._is_closed.set()


def _as_outage(error: Exception) -> StoreUnavailableError | None:
    """Return the failure of a store that an error tells of; None if the error has another cause.

    Stores of artifacts have exceptions of their own. Those of Python itself are faults of this
    program.
    """
    if isinstance(error, StoreUnavailableError):
        return error
    if isinstance(error, NalError) or type(error).__module__ == "builtins":
        return None
    reason = f"{type(error).__name__}: {mask_password(root_cause(error))}"
    return StoreUnavailableError(f"MLflow store failed: {reason}", reason)
