"""Interface through which engines (executors of runs) open, train, stop and close one run.

This module is cheap to import, since it imports torch only when the first run is opened.
"""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TextIO

from trainables.errors import NalError
from trainables.extensions import load_file, location_in_extension

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.datasets.base import Dataset
    from trainables.extensions import CodeFile
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec

MAX_TRACEBACK_FRAMES = 20
"""Largest number of frames in the traceback of a crash, counted from the innermost."""

Row = dict[str, float]
"""Metrics after one epoch of a run, by name such as "val/accuracy", and the "epoch" number."""


@dataclass(frozen=True, slots=True)
class Job:
    """Settings of a sweep that all of its runs share and that do not influence any result.

    Attributes:
        home: path of the home folder; all workers must access the same folder.
        data_dir: path of the folder that contains the dataset.
        study: name of the study that the runs belong to.
        dataset: name of the dataset of the runs, which each machine of a cluster must have; "" for
            no check.
        data: SHA-256 of the content of the dataset.
        diagnostics_every: number of epochs between two collections of diagnostics; None for about
            20 collections in the whole run, 0 for none.
        cpus: number of CPUs per run.
        gpus: number or fraction of GPUs per run; 0 hides all GPUs from the run.
        runs_per_gpu: largest number of runs that share a GPU.
        patience_seconds: longest wait, in seconds, for another process that trains the same run.
        has_system_metrics: whether runs record the use of CPUs, memory and GPU in every epoch.
        code: Python files with user-defined methods, backbones, noise or datasets (extensions);
            every worker executes these files.
    """

    home: Path
    data_dir: Path
    study: str
    dataset: str = ""
    data: str = ""
    diagnostics_every: int | None = None
    cpus: int = 1
    gpus: float = 0.0
    runs_per_gpu: int = 1
    patience_seconds: float = math.inf
    has_system_metrics: bool = False
    code: tuple[CodeFile, ...] = ()


class OpenRun(Protocol):
    """Interface of a run that is open for training: a `TrainingRun`, or a test double."""

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
"""Function from the spec of a run and a job's settings to a context manager that opens the run."""


def gpu_environment(gpus: float) -> dict[str, str]:
    """Return environment variables that hide all GPUs from a process if `gpus` is 0, else {}."""
    return {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}


@lru_cache(maxsize=1)
def _load_dataset(name: str, data_dir: Path, cache_dir: Path) -> Dataset:
    from trainables.datasets import load

    return load(name, data_dir, cache_dir)


def open_run(spec: RunSpec, job: Job) -> AbstractContextManager[OpenRun]:
    """Return a context manager that opens a run for training; the default `Opener` of engines.

    Args:
        spec: specification of the run.
        job: settings that all runs of the sweep share.
    """
    from trainables.training.training_run import TrainingRun

    for file in job.code:
        load_file(file)
    return TrainingRun(
        spec,
        job.home,
        lambda: _load_dataset(spec.dataset, job.data_dir, job.home / "cache"),
        job.study,
        patience_seconds=job.patience_seconds,
        diagnostics_every=job.diagnostics_every,
        has_system_metrics=job.has_system_metrics,
    )


class Attempt:
    """One attempt to train a run, which stores exceptions instead of raising them.

    Attributes:
        exception: last exception raised while the run was opened or trained; None if none was.
        stopped: whether the run was stopped before its last epoch.
    """

    def __init__(self, make_run: Callable[[], AbstractContextManager[OpenRun]]) -> None:
        """Open the run, which stays open until `close`.

        Args:
            make_run: function that returns a context manager, which opens the run.
        """
        self.exception: Exception | None = None
        self.stopped = False
        self._stack = ExitStack()
        self._run: OpenRun | None = None
        with self._store_exception():
            self._run = self._stack.enter_context(make_run())

    @contextmanager
    def _store_exception(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - reported to the sweep, which continues
            self.exception = error

    @property
    def can_advance(self) -> bool:
        """Whether the run has epochs left to train and no exception was raised."""
        return self.exception is None and self._run is not None and self._run.result is None

    @property
    def epoch(self) -> int:
        """Number of epochs trained so far."""
        return 0 if self._run is None else self._run.epoch

    def rows_since(self, epoch: int) -> list[Row]:
        """Return the rows of all epochs after `epoch`."""
        return [] if self._run is None else self._run.rows_since(epoch)

    def advance(self) -> None:
        """Train one more epoch if the run is open."""
        with self._store_exception():
            if self._run is not None:
                self._run.advance()

    def stop(self) -> None:
        """Stop the run after the current epoch; a later attempt can continue it."""
        self.stopped = True
        with self._store_exception():
            if self._run is not None:
                self._run.stop()

    def close(self) -> None:
        """Release the run, so that other processes can open it."""
        self._stack.close()


def take_stdout() -> TextIO:
    """Return standard output, and let all that is printed later go to standard error.

    Libraries and extensions may print, also by C code and in processes that they start.
    """
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


def describe_crash(exception: Exception | None) -> str:
    """Return the type, message, file and line of an unexpected exception, and its traceback.

    Args:
        exception: exception that ended a run; None if none was raised.

    Returns:
        Description in one line, followed by the lines of the traceback. It is "" if the exception
        is None or a `NalError`, which describes itself.
    """
    if exception is None or isinstance(exception, NalError):
        return ""
    frame = traceback.extract_tb(exception.__traceback__)[-1]
    location = location_in_extension(exception) or f"{frame.filename}:{frame.lineno}"
    message = " ".join(str(exception).split())
    lines = traceback.format_exception(exception, limit=-MAX_TRACEBACK_FRAMES)
    return f"{type(exception).__name__}: {message} ({location})\n{''.join(lines).strip()}"
