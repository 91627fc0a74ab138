"""Plans of small studies over made-up data, and sweeps carried out without Ray."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from fake_runs import record_run
from sqlalchemy import event

from orchestrator.flags import Changes
from orchestrator.planning.cost import MachineCost
from orchestrator.planning.plan import Plan
from orchestrator.sweeping.sweep import Sweep
from trainables.datasets.base import Dataset, Split
from trainables.training.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.sweeping.tasks import Task
    from search_spaces.loader import LoadedStudy
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec

STUDY = """\
title: a small study
dataset: digits
backbone: {name: mlp, hidden: [16]}
scenarios: [symmetric-0.4]
recipe: {epochs: 6, batch_size: 32, learning_rate: 0.05, window: 3}
methods: [ce, nal]
tune: [nal]
reference:
  nal: {lambda: 0.5, alpha: 0.9}
search:
  trials: 4
  seed: 1000
  hold_out: 0.3
  space:
    nal:
      lambda: {low: 0.05, high: 20, log: true}
      alpha: {low: 0.5, high: 0.99}
select: {candidates: 2, seeds: [2000, 2001]}
confirm: {seeds: [0, 1], hold_out: true}
"""

TWO_SCENARIOS = ("symmetric-0.4", "symmetric-0.2")


@cache
def made_up_data() -> Dataset:
    """100 training and 40 test images of ten classes."""
    random = np.random.default_rng(0)

    def split(count: int) -> Split:
        images = random.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
        return Split(images, np.arange(count, dtype=np.int64) % 10)

    return Dataset("digits", tuple("0123456789"), split(100), split(40))


def small_study(**flags: Any) -> LoadedStudy:
    """The small study as flags change it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.yaml")
        path.write_text(STUDY)
        return Changes(study=str(path), **flags).load()


def small_plan(**flags: Any) -> Plan:
    """The plan of the small study as flags change it."""
    return Plan("small", small_study(**flags).study, made_up_data())


def machine_cost(
    step_seconds: float,
    evaluation_seconds: float,
    checkpoint_bytes: int = 1000,
    slots: int = 2,
) -> MachineCost:
    """A machine on which every network costs the same."""
    cost = Cost(step_seconds, evaluation_seconds, checkpoint_bytes, "cpu")
    return MachineCost(defaultdict(lambda: cost), "cpu", slots=slots)


@cache
def _empty_searches() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "optuna.db")
        optuna.storages.RDBStorage(f"sqlite:///{path}").engine.dispose()
        return path.read_bytes()


def searches_of(home: Path) -> optuna.storages.RDBStorage:
    """Open the database of searches of a home, as a new process would; create it where needed."""
    path = home / "optuna.db"
    if not path.exists():
        path.write_bytes(_empty_searches())
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}", skip_table_creation=True)
    # No power will fail here: without waiting for the disk a trial takes a tenth of the time.
    event.listen(storage.engine, "connect", lambda db, _: db.execute("PRAGMA synchronous = OFF"))
    storage.engine.dispose()
    return storage


class Driver:
    """A process that carries out a sweep, one run after another or some at once.

    Attributes:
        sweep: the sweep.
        trained: the tasks that were carried out here, in order.
        heard: what a listener was told.
    """

    def __init__(
        self, plan: Plan, home: Path, storage: optuna.storages.BaseStorage | None = None
    ) -> None:
        self.home = home
        self.sweep = Sweep(plan, home, storage or searches_of(home))
        self.trained: list[Task] = []
        self.heard: list[tuple[Task, RunResult]] = []
        self.recorded = self.sweep.resume(lambda task, result: self.heard.append((task, result)))

    def run(self, most: int | None = None, at_once: int = 1) -> Driver:
        """Carry out runs until none is left, or `most` of them; the latest begun ends first."""
        going: list[Task] = []
        while most is None or len(self.trained) < most:
            while len(going) < at_once and (task := self.sweep.next()) is not None:
                going.append(task)
            if not going:
                break
            task = going.pop()
            self.trained.append(task)
            self.sweep.end(task, record_run(self.home, task.spec))
        return self

    @property
    def specs(self) -> Sequence[RunSpec]:
        """Specs of the runs carried out here."""
        return [task.spec for task in self.trained]


def wanted_digests(sweep: Sweep) -> set[str]:
    """The runs that a finished sweep rests on."""
    batches = [batch for tuning in sweep.tunings for _, batch in tuning.candidates]
    batches += [cell.batch for cell in sweep.cells]
    found = {spec.digest for batch in batches for spec in batch.specs}
    return found.union(*(tuning.digests for tuning in sweep.tunings))


def complete_trials(sweep: Sweep) -> list[int]:
    """Number of COMPLETE trials of each search."""
    return [len(tuning.search.completed()) for tuning in sweep.tunings]
