"""Plans of a small study over random data, and sweeps of it without Ray."""

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

from orchestrator.flags import StudyFlags
from orchestrator.planning.cost import MachineCost
from orchestrator.planning.plan import Plan
from orchestrator.sweeping.search_storage import NO_PATIENCE, Patience
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
  seeds: [1000]
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
def random_data() -> Dataset:
    """Return a dataset of 100 training and 40 test images of ten classes with random pixels."""
    random = np.random.default_rng(0)

    def split(count: int) -> Split:
        images = random.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
        return Split(images, np.arange(count, dtype=np.int64) % 10)

    return Dataset("digits", tuple("0123456789"), split(100), split(40))


def small_study(**flags: Any) -> LoadedStudy:
    """Return the small study with changes by flags."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.yaml")
        path.write_text(STUDY)
        return StudyFlags(study=str(path), **flags).load()


def small_plan(**flags: Any) -> Plan:
    """Return the plan of the small study with changes by flags."""
    return Plan("small", small_study(**flags).study, random_data())


def machine_cost(
    step_seconds: float,
    evaluation_seconds: float,
    checkpoint_bytes: int = 1000,
    slots: int = 2,
) -> MachineCost:
    """Return a machine cost that is the same for every network."""
    cost = Cost(step_seconds, evaluation_seconds, checkpoint_bytes, 1.75, "cpu")
    return MachineCost(
        defaultdict(lambda: cost), "cpu", max_concurrent_runs=slots, start_seconds=15.0
    )


@cache
def _empty_searches() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "optuna.db")
        optuna.storages.RDBStorage(f"sqlite:///{path}").engine.dispose()
        return path.read_bytes()


def searches_of(home: Path) -> optuna.storages.RDBStorage:
    """Open a home's database of searches as a new process would, or create it."""
    path = home / "optuna.db"
    if not path.exists():
        path.write_bytes(_empty_searches())
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}", skip_table_creation=True)
    # Without waiting for the disk, a trial takes a tenth of the time.
    event.listen(storage.engine, "connect", lambda db, _: db.execute("PRAGMA synchronous = OFF"))
    storage.engine.dispose()
    return storage


class Driver:
    """Carries out a sweep with fake results, without an engine.

    Attributes:
        home: home folder.
        sweep: the sweep.
        tasks: tasks carried out by this driver, in order.
        results: tasks and results passed to the sweep's callback, in order.
        recorded_count: number of recorded runs that the sweep began with.
    """

    def __init__(
        self,
        plan: Plan,
        home: Path,
        storage: optuna.storages.BaseStorage | None = None,
        patience: Patience = NO_PATIENCE,
    ) -> None:
        self.home = home
        self.sweep = Sweep(plan, home, storage or searches_of(home), patience=patience)
        self.tasks: list[Task] = []
        self.results: list[tuple[Task, RunResult]] = []
        self.recorded_count = self.sweep.resume(
            lambda task, result: self.results.append((task, result))
        )

    def run(self, max_runs: int | None = None, concurrency: int = 1) -> Driver:
        """Carry out runs; the run that started last ends first.

        Args:
            max_runs: number of runs after which to return; None for no limit.
            concurrency: number of runs at a time.
        """
        running: list[Task] = []
        while max_runs is None or len(self.tasks) < max_runs:
            while len(running) < concurrency and (task := self.sweep.next()) is not None:
                running.append(task)
            if not running:
                break
            task = running.pop()
            self.tasks.append(task)
            self.sweep.end(task, record_run(self.home, task.spec))
        return self

    @property
    def specs(self) -> Sequence[RunSpec]:
        """Specs of the runs carried out by this driver."""
        return [task.spec for task in self.tasks]


def sweep_digests(sweep: Sweep) -> set[str]:
    """Return the digests of all trials, candidates' runs and cells' runs of a finished sweep."""
    seed_groups = [group for tuning in sweep.tunings for _, group in tuning.candidates]
    seed_groups += [cell.seed_group for cell in sweep.cells]
    digests = {spec.digest for group in seed_groups for spec in group.specs}
    return digests.union(*(tuning.trial_digests for tuning in sweep.tunings))


def complete_trials(sweep: Sweep) -> list[int]:
    """Return the number of complete trials of each search."""
    return [len(tuning.search.completed_trials) for tuning in sweep.tunings]
