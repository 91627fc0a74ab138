"""The settings shared by all runs of a sweep, and the interface between an engine and a run.

This module is cheap to import: torch is imported when the first run is opened.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from trainables.errors import NalError
from trainables.extensions import load_file, place_in_code

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.datasets.base import Dataset
    from trainables.extensions import CodeFile
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec

Row = dict[str, float]
"""Measurements of one epoch of a run: "epoch" and metrics such as "val/accuracy"."""


@dataclass(frozen=True, slots=True)
class Job:
    """Settings that all runs of a sweep share, in addition to their specs.

    Attributes:
        home: path of the folder that holds `runs/`; all workers must see the same folder.
        data_dir: path of the folder that holds the dataset.
        study: name of the study that the runs belong to.
        diagnostics_every: number of epochs between collections of diagnostics; None for about 20
            collections in the whole run.
        cpus: number of CPUs per run.
        gpus: number of GPUs per run, which may be a fraction; 0 hides all GPUs from the run.
        patience_seconds: longest wait for another process that is working on the same run.
        code: files with the extensions that the runs use; every worker executes them.
    """

    home: Path
    data_dir: Path
    study: str
    diagnostics_every: int | None = None
    cpus: int = 1
    gpus: float = 0.0
    patience_seconds: float = math.inf
    code: tuple[CodeFile, ...] = ()


class OpenRun(Protocol):
    """An open run as an engine sees it: a `TrainingRun`, or a test double."""

    @property
    def result(self) -> RunResult | None:
        """Result of the run; None while epochs are left to train."""

    @property
    def epoch(self) -> int:
        """Number of epochs trained so far."""

    def rows_since(self, epoch: int) -> list[Row]:
        """Return the rows of all epochs after `epoch`."""

    def advance(self) -> RunResult | None:
        """Train one epoch and return the result if the run has ended."""

    def stop(self) -> None:
        """Write a checkpoint and record the run as stopped after the current epoch."""


Opener = Callable[["RunSpec", Job], AbstractContextManager[OpenRun]]
"""Function that opens the run of a spec under a job, as a context manager."""


def gpu_environment(gpus: float) -> dict[str, str]:
    """Return environment variables for a process outside Ray that hide all GPUs if `gpus` is 0."""
    return {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}


@lru_cache(maxsize=1)
def _dataset(name: str, data_dir: Path, cache_dir: Path) -> Dataset:
    from trainables.datasets import load

    return load(name, data_dir, cache_dir)


def open_run(spec: RunSpec, job: Job) -> AbstractContextManager[OpenRun]:
    """Open a run for training; the `Opener` that engines use unless a test replaces it."""
    from trainables.training.training_run import TrainingRun

    for file in job.code:
        load_file(file)
    return TrainingRun(
        spec,
        job.home,
        lambda: _dataset(spec.dataset, job.data_dir, job.home / "cache"),
        job.study,
        patience_seconds=job.patience_seconds,
        diagnostics_every=job.diagnostics_every,
    )


class Attempt:
    """One attempt of an engine to train a run; stores exceptions instead of raising them.

    Attributes:
        fault: first exception that training raised; None if there was none.
        stopped: whether the run was stopped before its last epoch.
    """

    def __init__(self, open_: Callable[[], AbstractContextManager[OpenRun]]) -> None:
        """Open the run, which stays open until `close`.

        Args:
            open_: function that opens the run.
        """
        self.fault: Exception | None = None
        self.stopped = False
        self._stack = ExitStack()
        self._run: OpenRun | None = None
        with self._store_fault():
            self._run = self._stack.enter_context(open_())

    @contextmanager
    def _store_fault(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - reported to the work, which continues
            self.fault = error

    @property
    def can_advance(self) -> bool:
        """Whether epochs are left to train and no exception was raised."""
        return self.fault is None and self._run is not None and self._run.result is None

    @property
    def epoch(self) -> int:
        """Number of epochs trained so far."""
        return 0 if self._run is None else self._run.epoch

    def rows_since(self, epoch: int) -> list[Row]:
        """Return the rows of all epochs after `epoch`."""
        return [] if self._run is None else self._run.rows_since(epoch)

    def advance(self) -> None:
        """Train one more epoch if the run is open."""
        with self._store_fault():
            if self._run is not None:
                self._run.advance()

    def stop(self) -> None:
        """Stop the run after the current epoch, from which it continues when it is opened again."""
        self.stopped = True
        with self._store_fault():
            if self._run is not None:
                self._run.stop()

    def close(self) -> None:
        """Release the run, so that other processes can open it."""
        self._stack.close()


def describe_crash(fault: Exception | None) -> str:
    """Return type, message and position of an unexpected exception; "" for a `NalError` or None."""
    if fault is None or isinstance(fault, NalError):
        return ""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    place = place_in_code(fault) or f"{frame.filename}:{frame.lineno}"
    return f"{type(fault).__name__}: {fault} ({place})"
