"""The Ray Tune trainable around a run: the only module of this room that knows Ray."""

from __future__ import annotations

import json
import math
import time
import traceback
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ray import tune

from trainables.errors import NalError
from trainables.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainables.datasets.base import Dataset
    from trainables.result import RunResult

REPORT_SECONDS = 0.5
"""Wall time between reports to the driver; shorter runs report once."""
IDLE_SECONDS = 0.05
"""Wall time between reports of an idle trial, which is stopped when its slot is wanted."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run and where its files are.

    Attributes:
        spec: what is trained.
        home: folder that holds `runs/`; every worker must see the same one.
        data_dir: folder that holds the dataset.
        study: name of the study that asks for it.
        diagnostics_every: epochs between collections of diagnostics; None: about 20 in all.
    """

    spec: RunSpec
    home: Path
    data_dir: Path
    study: str
    diagnostics_every: int | None = None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Job:
        """Read a job from a trial's configuration, in which the spec is canonical JSON."""
        return cls(
            spec=RunSpec.from_dict(json.loads(config["spec"])),
            home=Path(config["home"]),
            data_dir=Path(config["data_dir"]),
            study=config["study"],
            diagnostics_every=config.get("diagnostics_every"),
        )


class OpenRun(Protocol):
    """What the trainable drives: `trainables.running.Running`, or a stand-in."""

    @property
    def epoch(self) -> int:
        """Epochs done."""

    @property
    def latest(self) -> dict[str, float]:
        """The row of the latest epoch."""

    def advance(self) -> RunResult | None:
        """Train one epoch; return the result once there is one."""


@lru_cache(maxsize=1)
def _dataset(name: str, data_dir: Path, cache_dir: Path) -> Dataset:
    from trainables.datasets import load

    return load(name, data_dir, cache_dir)


class RunTrainable(tune.Trainable):
    """Trains one run after another; what it leaves is in the runs' records.

    Ray's own checkpoints are not used: a run finds its checkpoint by its digest, wherever and
    whenever it is begun again. A fault that has an explanation is reported under "error", any
    other under "crash": it would meet the run again, so that a new worker is no help. A
    configuration with the key "idle" keeps a worker ready without a run.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Open the run that the trial's configuration describes."""
        self._held = ExitStack()
        self._run: OpenRun | None = None
        self._fault: dict[str, str] = {}
        self._begun = False
        self._idle = "idle" in config
        if self._idle:
            self.warm_up()
            return
        with self._noting_faults():
            self._run = self.open_run(Job.from_config(config), self._held)

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        try:
            yield
        except NalError as error:
            self._fault = {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - told to the driver, which goes on with others
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._fault = {
                "crash": f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            }

    def open_run(self, job: Job, held: ExitStack) -> OpenRun:
        """Open a run until `held` is closed; tests stand in for the training here."""
        from trainables.running import Running

        return held.enter_context(
            Running(
                job.spec,
                job.home,
                lambda: _dataset(job.spec.dataset, job.data_dir, job.home / "cache"),
                job.study,
                patience_seconds=math.inf,
                diagnostics_every=job.diagnostics_every,
            )
        )

    def warm_up(self) -> None:
        """Import what training needs, so that the first run in this process does not wait."""
        import trainables.running  # noqa: F401

    def step(self) -> dict[str, Any]:
        """Train for about `REPORT_SECONDS`; tell how far the run is.

        The first report of a run comes at once: the run has begun. An idle trial only waits.
        """
        if self._idle:
            time.sleep(IDLE_SECONDS)
            return self._report(done=False)
        if not self._begun:
            self._begun = True
            return self._report(done=False)
        deadline = time.monotonic() + REPORT_SECONDS
        with self._noting_faults():
            while self._run is not None and not self._fault:
                if self._run.advance() is not None:
                    break
                if time.monotonic() > deadline:
                    return self._report(done=False)
        self._held.close()
        return self._report(done=True)

    def _report(self, *, done: bool) -> dict[str, Any]:
        run = self._run
        report: dict[str, Any] = {"done": done, "epoch": run.epoch if run else 0, **self._fault}
        if run is not None and "val/accuracy" in run.latest:
            report["val/accuracy"] = run.latest["val/accuracy"]
        return report

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another run in the same process."""
        self._held.close()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Let go of the run."""
        self._held.close()
