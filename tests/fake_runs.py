"""Fake runs, which record results without training.

The accuracy is a simple function of the spec, so that a search has an optimum to find. `fake.json`
under the home configures failures; the workers of all processes read it.
"""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from factories import make_result, text_hash

from trainables.errors import DataError
from trainables.run.record import Record
from trainables.run.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec
    from trainables.training.job import Job

BEST = {"lambda": 2.0, "alpha": 0.8}
"""Hyperparameters of NAL with the highest accuracy."""


def accuracy_of(spec: RunSpec) -> float:
    """Return 0.9 for NAL at `BEST`, less elsewhere, and 0.6 for other methods, plus seed noise."""
    seed = (int(text_hash(spec.seeds.init)[:4], 16) / 0xFFFF - 0.5) / 100
    if spec.method != "nal":
        return 0.6 + seed
    values = spec.hyperparameters
    distance = math.log10(values.number("lambda") / BEST["lambda"])
    return 0.9 - 0.1 * distance**2 - (values.number("alpha") - BEST["alpha"]) ** 2 + seed


def fake_result(spec: RunSpec, **changes: Any) -> RunResult:
    """Return the result of a fake run."""
    result = make_result(spec, accuracy=accuracy_of(spec), **changes)
    result.provenance["study"] = "fake"
    return result


def record_run(home: Path, spec: RunSpec, **changes: Any) -> RunResult:
    """Record a run as trained and return its result, whose attempts count these calls."""
    record = Record(home, spec.digest)
    record.folder.mkdir(parents=True, exist_ok=True)
    result = fake_result(spec, attempts=record.record_start(spec), **changes)
    record.write_result(result)
    return result


def attempts(home: Path) -> dict[str, int]:
    """Return the number of times that each run under a home was started, by digest."""
    paths = (home / "runs").glob("*/attempts")
    return {path.parent.name: int(path.read_text()) for path in paths}


def misbehave(home: Path, **failures: Any) -> None:
    """Configure which fake runs fail.

    Args:
        home: home of the sweep.
        failures: `diverge_above`, `crash_above` (a bug) and `die_once_above` (the worker dies the
            first time): value of λ above which runs fail; `die_once_after`: epoch after which the
            worker dies; `explain`: method whose runs raise a `DataError`; `seconds`: per epoch;
            `slow_above`: value of λ above which an epoch takes longer.
    """
    (home / "fake.json").write_text(json.dumps(failures))


class FakeRun:
    """Test double of `TrainingRun`, whose checkpoint is the number of epochs trained so far."""

    def __init__(self, spec: RunSpec, home: Path) -> None:
        self._spec = spec
        self._home = home
        self._record = Record(home, spec.digest)
        path = home / "fake.json"
        self._failures: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        recorded = self._record.read_result()
        self.result = recorded if recorded is not None and recorded.is_final else None
        self._checkpoint = self._record.folder / "fake.epoch"
        if self.result is None:
            self._record.folder.mkdir(parents=True, exist_ok=True)
            self._attempts = self._record.record_start(spec)
            diverged_at = 2 if self._above("diverge_above") else None
            self._final = fake_result(spec, attempts=self._attempts, diverged_at=diverged_at)
            self.epoch = int(self._checkpoint.read_text()) if self._checkpoint.exists() else 0
        else:
            self._final, self.epoch = self.result, len(self.result.trace)

    def rows_since(self, epoch: int) -> list[dict[str, float]]:
        return self._final.trace[epoch : self.epoch]

    def advance(self) -> RunResult | None:
        if self.result is not None:
            return self.result
        time.sleep(self._failures.get("seconds", 0) + 0.03 * self._above("slow_above"))
        if self._failures.get("explain") == self._spec.method:
            raise DataError("the data went away: bring them back")
        if self._above("crash_above"):
            raise ZeroDivisionError("a bug")
        if self._above("die_once_above"):
            self._die_once()
        self.epoch += 1
        self._checkpoint.write_text(str(self.epoch))
        if self._failures.get("die_once_after") == self.epoch:
            self._die_once()
        if self.epoch == len(self._final.trace):
            self.result = self._final
            self._record.write_result(self.result)
        return self.result

    def stop(self) -> None:
        trace = self._final.trace[: self.epoch]
        self.result = replace(self._final, status=Status.STOPPED, trace=trace)
        self._record.write_result(self.result)

    def _die_once(self) -> None:
        marker = self._home / f"died.{self._spec.digest}"
        if not marker.exists():
            marker.touch()
            os._exit(1)

    def _above(self, key: str) -> bool:
        lambda_ = self._spec.hyperparameters.get("lambda", 0.0)
        bound = self._failures.get(key)
        return bound is not None and isinstance(lambda_, float) and lambda_ > bound


@contextmanager
def open_fake(spec: RunSpec, job: Job) -> Iterator[FakeRun]:
    """Open a fake run; an `Opener`."""
    yield FakeRun(spec, job.home)
