"""What the runs of a sweep share, and how an engine handles one of them.

Importing this costs nothing: torch comes in when the first run is opened.
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

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.datasets.base import Dataset
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec

Row = dict[str, float]
"""What a run measured in one epoch: "epoch" and metrics such as "val/accuracy"."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all runs of a sweep share, beside their specs.

    Attributes:
        home: folder that holds `runs/`; every worker must see the same one.
        data_dir: folder that holds the dataset.
        study: name of the study that asks for the runs.
        diagnostics_every: epochs between collections of diagnostics; None: about 20 in all.
        cpus: CPUs of one run.
        gpus: GPUs of one run, or a share of one; 0: the run sees none.
        patience_seconds: how long a run waits for another process that works on it.
    """

    home: Path
    data_dir: Path
    study: str
    diagnostics_every: int | None = None
    cpus: int = 1
    gpus: float = 0.0
    patience_seconds: float = math.inf


class OpenRun(Protocol):
    """What an engine drives: `trainables.training.running.Running`, or a stand-in."""

    @property
    def result(self) -> RunResult | None:
        """The result; None while there is something left to train."""

    @property
    def epoch(self) -> int:
        """Number of epochs that are trained."""

    def rows_since(self, epoch: int) -> list[Row]:
        """Return the rows of the epochs after that one."""

    def advance(self) -> RunResult | None:
        """Train one epoch; return the result once there is one."""

    def stop(self) -> None:
        """Write a checkpoint and record that the run was stopped here."""


Opener = Callable[["RunSpec", Job], AbstractContextManager[OpenRun]]
"""Opens a run, given its spec and the job."""


def environment_of(gpus: float) -> dict[str, str]:
    """Return what a process outside Ray is told: a study that asks for no GPU sees none."""
    return {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}


@lru_cache(maxsize=1)
def _dataset(name: str, data_dir: Path, cache_dir: Path) -> Dataset:
    from trainables.datasets import load

    return load(name, data_dir, cache_dir)


def open_run(spec: RunSpec, job: Job) -> AbstractContextManager[OpenRun]:
    """Open a run that trains; tests give engines another opener."""
    from trainables.training.running import Running

    return Running(
        spec,
        job.home,
        lambda: _dataset(spec.dataset, job.data_dir, job.home / "cache"),
        job.study,
        patience_seconds=job.patience_seconds,
        diagnostics_every=job.diagnostics_every,
    )


class Attempt:
    """A run in the hands of an engine: what goes wrong is kept here instead of raised.

    Attributes:
        fault: what went wrong; None as long as nothing has.
        stopped: whether the run was stopped before its end.
    """

    def __init__(self, open_: Callable[[], AbstractContextManager[OpenRun]]) -> None:
        """Open the run until `close`."""
        self.fault: Exception | None = None
        self.stopped = False
        self._held = ExitStack()
        self._run: OpenRun | None = None
        with self._keeping_fault():
            self._run = self._held.enter_context(open_())

    @contextmanager
    def _keeping_fault(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - told to the work, which goes on with others
            self.fault = error

    @property
    def goes_on(self) -> bool:
        """Whether there is something left to train, and nothing in the way."""
        return self.fault is None and self._run is not None and self._run.result is None

    @property
    def epoch(self) -> int:
        """Number of epochs that are trained."""
        return 0 if self._run is None else self._run.epoch

    def rows_since(self, epoch: int) -> list[Row]:
        """Return the rows of the epochs after that one."""
        return [] if self._run is None else self._run.rows_since(epoch)

    def advance(self) -> None:
        """Train one epoch more, if the run is open."""
        with self._keeping_fault():
            if self._run is not None:
                self._run.advance()

    def stop(self) -> None:
        """Stop the run where it stands; it goes on from there when it is opened again."""
        self.stopped = True
        with self._keeping_fault():
            if self._run is not None:
                self._run.stop()

    def close(self) -> None:
        """Let go of the run, so that others can work on it."""
        self._held.close()


def crash_text(fault: Exception | None) -> str:
    """Describe a fault that has no explanation of its own, and where it happened; "" for others."""
    if fault is None or isinstance(fault, NalError):
        return ""
    where = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{type(fault).__name__}: {fault} ({where.filename}:{where.lineno})"
