"""The cell runs of MLflow: each has its settings, and the mean over the seeds nested below it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING

from orchestrator.tracking.projection import PARENT, cell_name, setting_numbers
from trainables.result import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from reports.plan_record import CellRecord


def is_whole(run: Run) -> bool:
    """Return whether all of a run was written: its status comes last."""
    return run.info.status in ("FINISHED", "FAILED")


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run in the store.

    Attributes:
        run_id: MLflow's name of it.
        whole: whether all of it was written.
        parent: MLflow run that it is nested below; "" for none.
        accuracy: test accuracy after the last epoch, where there is one.
        status: how the training ended.
    """

    run_id: str
    whole: bool
    parent: str
    accuracy: float | None
    status: str

    @property
    def unfinished(self) -> bool:
        """Whether the training lacked memory or was stopped, and will go on when next asked for."""
        return self.status in (Status.OUT_OF_MEMORY, Status.STOPPED)

    @classmethod
    def of(cls, run: Run) -> KnownRun:
        """Take it from the store."""
        tags, accuracy = run.data.tags, run.data.metrics.get("test/accuracy_last")
        parent = tags.get(PARENT, "")
        return cls(run.info.run_id, is_whole(run), parent, accuracy, tags["nal.status"])


@dataclass(slots=True)
class Cell:
    """A cell run in the store.

    Attributes:
        run_id: MLflow's name of it.
        shown: number of ended seeds that its last point stands for.
        described: whether its settings were written.
        whole: whether it shows all its seeds.
    """

    run_id: str
    shown: int = 0
    described: bool = False
    whole: bool = False


class Cells:
    """The cells of a study's experiment, each the cell of one sweep.

    Args:
        client: of the store.
        create: creates a run of a name with tags in the experiment; returns MLflow's name of it.
    """

    def __init__(
        self, client: MlflowClient, create: Callable[[str, Mapping[str, str]], str]
    ) -> None:
        self._client = client
        self._create = create
        self._cells: dict[tuple[str, str], Cell] = {}

    def note(self, run: Run) -> None:
        """Take note of a cell that is in the store."""
        tags, metrics = run.data.tags, run.data.metrics
        self._cells[tags.get("nal.sweep", ""), tags["nal.cell"]] = Cell(
            run.info.run_id,
            shown=int(metrics.get("n", 0) + metrics.get("diverged", 0)),
            described=bool(run.data.params),
            whole=is_whole(run),
        )

    def find(self, sweep: str, name: str, record: CellRecord, parent: str) -> Cell:
        """Return a sweep's cell, which is created if it is not there.

        Args:
            sweep: its digest.
            name: of the cell, see `cell_id`.
            record: the cell in the sweep's plan.
            parent: MLflow run of the sweep.
        """
        found = self._cells.get((sweep, name))
        if found is None:
            tags = {"nal.kind": "cell", "nal.cell": name, "nal.sweep": sweep, PARENT: parent}
            title = cell_name(record.method, record.scenario, record.values)
            found = self._cells[sweep, name] = Cell(self._create(title, tags))
        if not found.described:
            settings = {"method": record.method, "scenario": record.scenario, **record.values}
            params = {name: str(value) for name, value in settings.items()}
            self._log(found, setting_numbers(record.values), len(record.seeds), params)
            found.described = True
        return found

    def unfinished(self, sweep: str) -> list[str]:
        """Return MLflow's names of a sweep's cells that lack seeds."""
        return [c.run_id for (of, _), c in self._cells.items() if of == sweep and not c.whole]

    def show(self, cell: Cell, seeds: Sequence[KnownRun], planned: int) -> None:
        """Log a cell's mean over its seeds, once for each number of them.

        Args:
            cell: to show.
            seeds: its runs that ended.
            planned: how many it is to have.
        """
        if len(seeds) > cell.shown:
            self._log(cell, _numbers(seeds), step=len(seeds))
            cell.shown = len(seeds)
        if not cell.whole and cell.shown >= planned:
            self._client.set_terminated(cell.run_id, "FINISHED")
            cell.whole = True

    def _log(
        self,
        cell: Cell,
        numbers: Mapping[str, float],
        step: int,
        params: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        self._client.log_batch(
            cell.run_id,
            metrics=[Metric(name, value, now, step) for name, value in numbers.items()],
            params=[Param(name, value) for name, value in (params or {}).items()],
        )


def _numbers(seeds: Sequence[KnownRun]) -> dict[str, float]:
    ended = [run.accuracy for run in seeds if run.status == Status.FINISHED]
    accuracies = [accuracy for accuracy in ended if accuracy is not None]
    numbers = {"n": float(len(ended)), "diverged": float(len(seeds) - len(ended))}
    if accuracies:
        numbers["test/accuracy_mean"] = mean(accuracies)
    if len(accuracies) >= 2:
        numbers["test/accuracy_std"] = stdev(accuracies)
    return numbers
