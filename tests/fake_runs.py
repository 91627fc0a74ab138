"""Runs that cost nothing: what a sweep asks for is recorded, but nothing is trained.

The accuracy is a plain function of the spec, so that a search has something to find. `fake.json`
under the home says which runs go wrong; workers of any process read it there.
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
"""Where the accuracy of NAL is highest."""


def accuracy_of(spec: RunSpec) -> float:
    """NAL: 0.9 at `BEST`, less elsewhere; other methods 0.6; a little more or less by the seed."""
    seed = (int(text_hash(spec.seeds.init)[:4], 16) / 0xFFFF - 0.5) / 100
    if spec.method != "nal":
        return 0.6 + seed
    values = spec.hyperparameters
    away = math.log10(values.number("lambda") / BEST["lambda"])
    return 0.9 - 0.1 * away**2 - (values.number("alpha") - BEST["alpha"]) ** 2 + seed


def fake_result(spec: RunSpec, **changes: Any) -> RunResult:
    """The result that a run of this spec would have."""
    result = make_result(spec, accuracy=accuracy_of(spec), **changes)
    result.provenance["study"] = "fake"
    return result


def record_run(home: Path, spec: RunSpec, **changes: Any) -> RunResult:
    """Record a run as trained; the number of attempts says how often that was done."""
    record = Record(home, spec.digest)
    record.folder.mkdir(parents=True, exist_ok=True)
    result = fake_result(spec, attempts=record.begin(spec), **changes)
    record.finish(result)
    return result


def attempts(home: Path) -> dict[str, int]:
    """How often each run under a home was begun, by digest."""
    found = (home / "runs").glob("*/attempts")
    return {path.parent.name: int(path.read_text()) for path in found}


def misbehave(home: Path, **how: Any) -> None:
    """Say which runs go wrong.

    Args:
        home: of the sweep.
        how: `diverge_above`, `crash_above` (a bug), `die_once_above` (the worker is lost, the first
            time): a λ; `die_once_after`: an epoch; `explain`: a method whose runs meet an explained
            fault; `seconds`: per epoch.
    """
    (home / "fake.json").write_text(json.dumps(how))


class FakeRun:
    """Stands in for `Running`; its checkpoint is the number of epochs done."""

    def __init__(self, spec: RunSpec, home: Path) -> None:
        self._spec = spec
        self._home = home
        self._record = Record(home, spec.digest)
        path = home / "fake.json"
        self._how: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        recorded = self._record.result()
        self.result = recorded if recorded is not None and recorded.final else None
        self._checkpoint = self._record.folder / "fake.epoch"
        if self.result is None:
            self._record.folder.mkdir(parents=True, exist_ok=True)
            self._attempts = self._record.begin(spec)
            at = 2 if self._above("diverge_above") else None
            self._whole = fake_result(spec, attempts=self._attempts, diverged_at=at)
            self.epoch = int(self._checkpoint.read_text()) if self._checkpoint.exists() else 0
        else:
            self._whole, self.epoch = self.result, len(self.result.trace)

    def rows_since(self, epoch: int) -> list[dict[str, float]]:
        return self._whole.trace[epoch : self.epoch]

    def advance(self) -> RunResult | None:
        if self.result is not None:
            return self.result
        time.sleep(self._how.get("seconds", 0))
        if self._how.get("explain") == self._spec.method:
            raise DataError("the data went away: bring them back")
        if self._above("crash_above"):
            raise ZeroDivisionError("a bug")
        if self._above("die_once_above"):
            self._die_once()
        self.epoch += 1
        self._checkpoint.write_text(str(self.epoch))
        if self._how.get("die_once_after") == self.epoch:
            self._die_once()
        if self.epoch == len(self._whole.trace):
            self.result = self._whole
            self._record.finish(self.result)
        return self.result

    def stop(self) -> None:
        trace = self._whole.trace[: self.epoch]
        self.result = replace(self._whole, status=Status.STOPPED, trace=trace)
        self._record.finish(self.result)

    def _die_once(self) -> None:
        died = self._home / f"died.{self._spec.digest}"
        if not died.exists():
            died.touch()
            os._exit(1)

    def _above(self, key: str) -> bool:
        boost = self._spec.hyperparameters.get("lambda", 0.0)
        return key in self._how and isinstance(boost, float) and boost > self._how[key]


@contextmanager
def open_fake(spec: RunSpec, job: Job) -> Iterator[FakeRun]:
    """Open a run in which nothing is trained."""
    yield FakeRun(spec, job.home)
