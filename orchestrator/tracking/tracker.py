"""The one writer of MLflow: runs, cells and sweeps, written from the runs' records.

A run of MLflow stands for a run in one sweep: one that serves two sweeps is written below both, so
that each has all its trials, candidates, cells and seeds below itself.

Whatever is written can be written again: a run that is there is left alone, one that a killed
driver left half-written is replaced, so that no curve has a hole or a double.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import STUDY_FILE
from orchestrator.tracking.projection import (
    PARENT,
    Purpose,
    artifacts,
    cell_id,
    cell_name,
    metric_points,
    run_name,
    run_params,
    run_tags,
    setting_numbers,
)
from reports.plan_record import PLAN_FILE, CellRecord, PlanRecord
from reports.store import explained, open_store, search_runs, shown
from trainables.errors import ServiceError
from trainables.run.metrics import CELL_MEAN, CELL_STD, TEST_LAST
from trainables.run.result import RunResult, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run


EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Opens the experiment in the pages for model training, not those for language models."""
_BATCH = 900
_LONGEST_NOTE = 5000


def is_whole(run: Run) -> bool:
    """Return whether all of a run was written: its status comes last."""
    return run.info.status in ("FINISHED", "FAILED")


@dataclass(frozen=True, slots=True)
class KnownRun:
    """What the tracker knows of a run that is in the MLflow store.

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
        tags, accuracy = run.data.tags, run.data.metrics.get(TEST_LAST)
        parent = tags.get(PARENT, "")
        return cls(run.info.run_id, is_whole(run), parent, accuracy, tags["nal.status"])


@dataclass(slots=True)
class CellRun:
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


class CellRuns:
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
        self._cell_runs: dict[tuple[str, str], CellRun] = {}

    def note(self, run: Run) -> None:
        """Take note of a cell that is in the store."""
        tags, metrics = run.data.tags, run.data.metrics
        self._cell_runs[tags.get("nal.sweep", ""), tags["nal.cell"]] = CellRun(
            run.info.run_id,
            shown=int(metrics.get("n", 0) + metrics.get("diverged", 0)),
            described=bool(run.data.params),
            whole=is_whole(run),
        )

    def find(self, sweep: str, name: str, record: CellRecord, parent: str) -> CellRun:
        """Return a sweep's cell, which is created if it is not there.

        Args:
            sweep: its digest.
            name: of the cell, see `cell_id`.
            record: the cell in the sweep's plan.
            parent: MLflow run of the sweep.
        """
        found = self._cell_runs.get((sweep, name))
        if found is None:
            tags = {"nal.kind": "cell", "nal.cell": name, "nal.sweep": sweep, PARENT: parent}
            title = cell_name(record.method, record.scenario, record.values)
            found = self._cell_runs[sweep, name] = CellRun(self._create(title, tags))
        if not found.described:
            settings = {"method": record.method, "scenario": record.scenario, **record.values}
            params = {name: str(value) for name, value in settings.items()}
            self._log(found, setting_numbers(record.values), len(record.seeds), params)
            found.described = True
        return found

    def unfinished(self, sweep: str) -> list[str]:
        """Return MLflow's names of a sweep's cells that lack seeds."""
        return [c.run_id for (of, _), c in self._cell_runs.items() if of == sweep and not c.whole]

    def show(self, cell: CellRun, seeds: Sequence[KnownRun], planned: int) -> None:
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
        cell: CellRun,
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
        numbers[CELL_MEAN] = mean(accuracies)
    if len(accuracies) >= 2:
        numbers[CELL_STD] = stdev(accuracies)
    return numbers


class Tracker:
    """Writes one study's runs into its experiment.

    Args:
        uri: of the store: sqlite:///PATH or http(s)://HOST:PORT.
        artifact_root: folder for artifacts; None leaves the place to the server.
        study: name of the study, and of its experiment.

    Raises:
        ServiceError: the server does not answer (said within ten seconds).
        HomeError: the SQLite file or the artifacts' folder cannot be used.
    """

    def __init__(self, uri: str, artifact_root: Path | None, study: str) -> None:
        self.uri = uri
        self.study = study
        self._client = open_store(uri)
        self._runs: dict[tuple[str, str], KnownRun] = {}
        self._cell_runs = CellRuns(self._client, self._create)
        self._sweeps: dict[str, str] = {}
        self._plan: PlanRecord | None = None
        self._sweep_run = ""
        with explained(uri):
            self._experiment = self._open_experiment(artifact_root)
            self._read_known()

    def start_sweep(self, plan: PlanRecord, study_yaml: str) -> None:
        """Find or create the run of a sweep, and keep its plan and study there.

        Args:
            plan: as far as it is known.
            study_yaml: the resolved study.

        Raises:
            ServiceError, HomeError: the store failed.
        """
        with explained(self.uri):
            run_id = self._sweeps.get(plan.sweep)
            if run_id is None:
                run_id = self._create(
                    f"sweep {plan.sweep[:8]}", {"nal.kind": "sweep", "nal.sweep": plan.sweep}
                )
                self._sweeps[plan.sweep] = run_id
            self._sweep_run = run_id
            self._client.update_run(run_id, status="RUNNING")
            self._client.set_tag(run_id, "nal.started", datetime.now(UTC).isoformat())
            self._client.log_text(run_id, study_yaml, STUDY_FILE)
            self._write_plan(plan)

    def update_plan(self, plan: PlanRecord) -> None:
        """Keep a plan that has come further: winners known, more trials finished.

        Raises:
            ServiceError, HomeError: the store failed.
        """
        with explained(self.uri):
            self._write_plan(plan)

    def record(self, result: RunResult, phase: Purpose, cell: CellRecord | None = None) -> None:
        """Write a run that ended, once in each sweep; one that is there is left as it is.

        What lacked memory before is written anew when it ends otherwise.

        Args:
            result: of the run.
            phase: which part of the sweep it was made for; "train" stands alone.
            cell: in the confirm phase, the cell it belongs to.

        Raises:
            ServiceError, HomeError: the store failed.
        """
        with explained(self.uri):
            plan = self._plan if phase != "train" else None
            sweep, parent = (plan.sweep, self._sweep_run) if plan else ("", "")
            cell_run = None
            if plan and cell:
                name = cell_id(result.spec, plan.fixed_seeds)
                cell_run = self._cell_runs.find(sweep, name, cell, parent)
                parent = cell_run.run_id
            known = self._runs.get((sweep, result.digest))
            outdated = known is not None and known.unfinished and result.final
            if known is None or not known.whole or outdated:
                if known:
                    self._client.delete_run(known.run_id)
                self._runs[sweep, result.digest] = self._write(result, phase, sweep, parent)
            if cell_run and cell:
                ended = [
                    run
                    for run in self._runs.values()
                    if run.parent == cell_run.run_id and run.whole and not run.unfinished
                ]
                self._cell_runs.show(cell_run, ended, len(cell.seeds))

    def finish_sweep(self, plan: PlanRecord, tables: Mapping[str, str]) -> None:
        """Keep the final plan and the tables, and mark the sweep finished.

        Args:
            plan: in its final state.
            tables: texts by file name; `table.md` becomes the description in MLflow's pages.

        Raises:
            ServiceError, HomeError: the store failed.
        """
        with explained(self.uri):
            self._write_plan(plan)
            for name, text in tables.items():
                self._client.log_text(self._sweep_run, text, name)
            if note := tables.get("table.md", "")[:_LONGEST_NOTE]:
                self._client.set_tag(self._sweep_run, "mlflow.note.content", note)
            self._client.set_terminated(self._sweep_run, "FINISHED")

    def abandon(self) -> None:
        """Mark the sweep interrupted; the same command goes on with it.

        Raises:
            ServiceError, HomeError: the store failed.
        """
        with explained(self.uri):
            if self._plan:
                for run_id in [*self._cell_runs.unfinished(self._plan.sweep), self._sweep_run]:
                    self._client.set_terminated(run_id, "KILLED")

    def _open_experiment(self, artifact_root: Path | None) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.study)
        if found is None:
            place = (artifact_root / self.study).resolve().as_uri() if artifact_root else None
            try:
                return self._client.create_experiment(
                    self.study, artifact_location=place, tags=EXPERIMENT_TAGS
                )
            except MlflowException:
                # Another process may have been quicker.
                found = self._client.get_experiment_by_name(self.study)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            raise ServiceError(
                f"experiment '{self.study}' was deleted from {shown(self.uri)}: restore it with "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
            )
        return str(found.experiment_id)

    def _read_known(self) -> None:
        for run in search_runs(self._client, [self._experiment], "tags.`nal.kind` LIKE '%'"):
            tags = run.data.tags
            match tags["nal.kind"]:
                case "run":
                    key = tags.get("nal.sweep", ""), tags["nal.digest"]
                    if not (known := self._runs.get(key)) or not known.whole:
                        self._runs[key] = KnownRun.of(run)
                case "cell":
                    self._cell_runs.note(run)
                case "sweep":
                    self._sweeps[tags["nal.sweep"]] = run.info.run_id

    def _create(self, name: str, tags: Mapping[str, str], start_ms: int | None = None) -> str:
        run = self._client.create_run(
            self._experiment,
            start_time=start_ms,
            tags={"nal.study": self.study, **tags},
            run_name=name,
        )
        return str(run.info.run_id)

    def _write_plan(self, plan: PlanRecord) -> None:
        self._plan = plan
        self._client.set_tag(self._sweep_run, "nal.title", plan.title)
        self._client.set_tag(self._sweep_run, "nal.state", plan.state)
        self._client.log_text(self._sweep_run, plan.to_json(), PLAN_FILE)

    def _write(self, result: RunResult, phase: Purpose, sweep: str, parent: str) -> KnownRun:
        from mlflow.entities import Param

        tags = run_tags(result, phase, self.study, sweep) | ({PARENT: parent} if parent else {})
        start = int(time.time() * 1000) - int(1000 * sum(result.seconds))
        run_id = self._create(run_name(result.spec, phase), tags, start)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in artifacts(result).items():
                Path(folder, name).write_text(text)
            self._client.log_artifacts(run_id, folder)
        points = metric_points(result)
        params = [Param(name, value) for name, value in run_params(result.spec).items()]
        for first in range(0, len(points), _BATCH):
            self._client.log_batch(
                run_id, metrics=points[first : first + _BATCH], params=[] if first else params
            )
        # The status comes last: a run without it is known to be half-written.
        finished = result.status is Status.FINISHED
        self._client.set_terminated(run_id, "FINISHED" if finished else "FAILED")
        accuracy = result.summary().get(TEST_LAST)
        return KnownRun(run_id, whole=True, parent=parent, accuracy=accuracy, status=result.status)
