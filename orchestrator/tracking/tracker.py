"""Writer of runs, cells and sweeps to MLflow, from the records of the runs.

An MLflow run represents a run in one sweep. A run that two sweeps share is written below both, so
that each sweep has all its trials, candidates, cells and seeds below itself.

Writing the same run again is safe. A complete run in MLflow is left unchanged. A run that a killed
driver left incomplete is replaced, so that no curve lacks a point or has one twice.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import NO_CODE, STUDY_FILE
from orchestrator.tracking.projection import (
    PARENT_TAG,
    Purpose,
    artifacts,
    cell_id,
    cell_name,
    metric_points,
    numeric_settings,
    protocol_in,
    run_name,
    run_params,
    run_tags,
)
from reports.plan_record import PLAN_FILE, CellRecord, PlanRecord
from reports.store import open_store, search_runs, translate_store_errors, without_password
from trainables.errors import ServiceError
from trainables.run.metrics import CELL_MEAN, CELL_STD, TEST, TEST_LAST
from trainables.run.result import RunResult, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from trainables.run.protocols import Protocol


EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Tags that make MLflow show an experiment in the pages for model training."""

MAX_BATCH_METRICS = 900
"""Largest number of metrics in one request to the store."""

MAX_NOTE_LENGTH = 5000
"""Largest length of a sweep's description, in characters."""


def is_complete(run: Run) -> bool:
    """Return whether an MLflow run was written completely: its status is written last."""
    return run.info.status in ("FINISHED", "FAILED")


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run in the MLflow store.

    Attributes:
        run_id: MLflow's ID of the run.
        complete: whether the run was written completely.
        parent: ID of the MLflow run below which MLflow shows this run; "" for none.
        accuracy: test accuracy after the last epoch; None if it was not evaluated.
        status: status of the training.
    """

    run_id: str
    complete: bool
    parent: str
    accuracy: float | None
    status: str

    @property
    def resumable(self) -> bool:
        """Whether the training may continue later, since it was stopped or ran out of memory."""
        return self.status in (Status.OUT_OF_MEMORY, Status.STOPPED)

    @classmethod
    def of(cls, run: Run) -> StoredRun:
        """Return the description of an MLflow run."""
        tags, accuracy = run.data.tags, run.data.metrics.get(TEST_LAST)
        parent = tags.get(PARENT_TAG, "")
        return cls(run.info.run_id, is_complete(run), parent, accuracy, tags["nal.status"])


@dataclass(slots=True)
class CellRun:
    """A cell (all seeds of one method, scenario and values) in the MLflow store.

    Attributes:
        run_id: ID of the MLflow run that represents the cell.
        logged_seeds: number of ended runs that the last logged mean includes.
        has_settings: whether the settings of the cell were written.
        complete: whether the last logged mean includes the runs of all seeds.
    """

    run_id: str
    logged_seeds: int = 0
    has_settings: bool = False
    complete: bool = False


class CellRuns:
    """Cells in the MLflow experiment of a study, found by the digests of sweep and cell.

    A cell is all seeds of one method, scenario and values.

    Args:
        client: client of the MLflow store.
        create: function that creates an MLflow run with a name and tags, and returns its ID.
    """

    def __init__(
        self, client: MlflowClient, create: Callable[[str, Mapping[str, str]], str]
    ) -> None:
        self._client = client
        self._create_run = create
        self._cell_runs: dict[tuple[str, str], CellRun] = {}

    def add(self, run: Run) -> None:
        """Add a cell that was read from the MLflow store.

        Args:
            run: MLflow run that represents the cell.
        """
        tags, metrics = run.data.tags, run.data.metrics
        self._cell_runs[tags.get("nal.sweep", ""), tags["nal.cell"]] = CellRun(
            run.info.run_id,
            logged_seeds=int(metrics.get("n", 0) + metrics.get("diverged", 0)),
            has_settings=bool(run.data.params),
            complete=is_complete(run),
        )

    def get_or_create(self, sweep: str, name: str, record: CellRecord, parent: str) -> CellRun:
        """Return a cell of a sweep, and create it in the MLflow store if it is missing.

        Args:
            sweep: digest of the sweep.
            name: digest of the cell, see `cell_id`.
            record: record of the cell in the sweep's plan.
            parent: ID of the sweep's MLflow run.
        """
        cell = self._cell_runs.get((sweep, name))
        if cell is None:
            tags = {"nal.kind": "cell", "nal.cell": name, "nal.sweep": sweep, PARENT_TAG: parent}
            title = cell_name(record.method, record.scenario, record.values)
            cell = self._cell_runs[sweep, name] = CellRun(self._create_run(title, tags))
        if not cell.has_settings:
            settings = {"method": record.method, "scenario": record.scenario, **record.values}
            params = {name: str(value) for name, value in settings.items()}
            self._log_to_cell(cell, numeric_settings(record.values), len(record.seeds), params)
            cell.has_settings = True
        return cell

    def incomplete_ids(self, sweep: str) -> list[str]:
        """Return the MLflow IDs of the cells of a sweep that still have runs to end.

        Args:
            sweep: digest of the sweep.
        """
        return [
            cell.run_id
            for (sweep_digest, _), cell in self._cell_runs.items()
            if sweep_digest == sweep and not cell.complete
        ]

    def log_mean(self, cell: CellRun, ended_runs: Sequence[StoredRun], planned_count: int) -> None:
        """Log the mean accuracy of a cell, unless it was logged for as many runs already.

        Args:
            cell: cell in the MLflow store.
            ended_runs: ended runs of the cell, one for each seed.
            planned_count: number of runs of the complete cell.
        """
        if len(ended_runs) > cell.logged_seeds:
            self._log_to_cell(cell, _cell_metrics(ended_runs), step=len(ended_runs))
            cell.logged_seeds = len(ended_runs)
        if not cell.complete and cell.logged_seeds >= planned_count:
            self._client.set_terminated(cell.run_id, "FINISHED")
            cell.complete = True

    def _log_to_cell(
        self,
        cell: CellRun,
        metrics: Mapping[str, float],
        step: int,
        params: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param

        now_ms = int(time.time() * 1000)
        self._client.log_batch(
            cell.run_id,
            metrics=[Metric(name, value, now_ms, step) for name, value in metrics.items()],
            params=[Param(name, value) for name, value in (params or {}).items()],
        )


def _cell_metrics(runs: Sequence[StoredRun]) -> dict[str, float]:
    all_accuracies = [run.accuracy for run in runs if run.status == Status.FINISHED]
    accuracies = [accuracy for accuracy in all_accuracies if accuracy is not None]
    metrics = {"n": float(len(all_accuracies)), "diverged": float(len(runs) - len(all_accuracies))}
    if accuracies:
        metrics[CELL_MEAN] = mean(accuracies)
    if len(accuracies) >= 2:
        metrics[CELL_STD] = stdev(accuracies)
    return metrics


class Tracker:
    """Writer of the runs of one study to its MLflow experiment.

    Args:
        uri: URI of the MLflow store, sqlite:///PATH or http(s)://HOST:PORT.
        artifact_root: folder for MLflow's artifacts; None if a server determines their location.
        study: name of the study and of its MLflow experiment.

    Attributes:
        uri: URI of the MLflow store.
        study: name of the study.

    Raises:
        ServiceError: if the MLflow server does not respond within ten seconds.
        HomeError: if the SQLite file or the folder for artifacts cannot be used.
    """

    def __init__(self, uri: str, artifact_root: Path | None, study: str) -> None:
        self.uri = uri
        self.study = study
        self._client = open_store(uri)
        self._runs: dict[tuple[str, str], StoredRun] = {}
        self._cell_runs = CellRuns(self._client, self._create_run)
        self._sweeps: dict[str, str] = {}
        self._plan: PlanRecord | None = None
        self._sweep_run = ""
        with translate_store_errors(uri):
            self._experiment = self._open_experiment(artifact_root)
            self._read_stored()

    def start_sweep(
        self, plan: PlanRecord, study_yaml: str, code: Mapping[str, str] = NO_CODE
    ) -> None:
        """Find or create the MLflow run of a sweep, and write its plan and study.

        Args:
            plan: plan of the sweep.
            study_yaml: resolved study as YAML text.
            code: contents of the code files, by their path relative to the study.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            run_id = self._sweeps.get(plan.sweep)
            if run_id is None:
                run_id = self._create_run(
                    f"sweep {plan.sweep[:8]}", {"nal.kind": "sweep", "nal.sweep": plan.sweep}
                )
                self._sweeps[plan.sweep] = run_id
            self._sweep_run = run_id
            self._client.update_run(run_id, status="RUNNING")
            self._client.set_tag(run_id, "nal.started", datetime.now(UTC).isoformat())
            for path, content in {**code, STUDY_FILE: study_yaml}.items():
                self._client.log_text(run_id, content, path)
            self._write_plan(plan)

    def update_plan(self, plan: PlanRecord) -> None:
        """Write an updated plan of the sweep to MLflow.

        Args:
            plan: updated plan.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            self._write_plan(plan)

    def record(self, result: RunResult, phase: Purpose, cell: CellRecord | None = None) -> None:
        """Write a run that has ended to MLflow, unless it is there already.

        An entry of a run that was stopped or ran out of memory is replaced once the result of the
        run is final.

        Args:
            result: result of the run.
            phase: phase of the run; "train" for a run that belongs to no sweep.
            cell: cell of the run in the confirm phase; None in other phases.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            plan = self._plan if phase != "train" else None
            sweep, parent = (plan.sweep, self._sweep_run) if plan else ("", "")
            cell_run = None
            if plan and cell:
                name = cell_id(result.spec, plan.fixed_seeds)
                cell_run = self._cell_runs.get_or_create(sweep, name, cell, parent)
                parent = cell_run.run_id
            stored = self._runs.get((sweep, result.digest))
            is_outdated = stored is not None and stored.resumable and result.final
            if stored is None or not stored.complete or is_outdated:
                if stored:
                    self._client.delete_run(stored.run_id)
                protocol = protocol_in(plan, result, phase, cell)
                self._runs[sweep, result.digest] = self._write_run(
                    result, phase, sweep, parent, protocol
                )
            if cell_run and cell:
                ended_runs = [
                    run
                    for run in self._runs.values()
                    if run.parent == cell_run.run_id and run.complete and not run.resumable
                ]
                self._cell_runs.log_mean(cell_run, ended_runs, len(cell.seeds))

    def finish_sweep(self, plan: PlanRecord, tables: Mapping[str, str]) -> None:
        """Write the final plan and the tables to MLflow, and mark the sweep as finished.

        Args:
            plan: final plan of the sweep.
            tables: rendered tables by file name; `table.md` becomes the description of the sweep.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            self._write_plan(plan)
            for name, text in tables.items():
                self._client.log_text(self._sweep_run, text, name)
            if note := tables.get("table.md", "")[:MAX_NOTE_LENGTH]:
                self._client.set_tag(self._sweep_run, "mlflow.note.content", note)
            self._client.set_terminated(self._sweep_run, "FINISHED")

    def mark_interrupted(self) -> None:
        """Mark the sweep and its incomplete cells as killed in MLflow.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            if self._plan:
                for run_id in [*self._cell_runs.incomplete_ids(self._plan.sweep), self._sweep_run]:
                    self._client.set_terminated(run_id, "KILLED")

    def _open_experiment(self, artifact_root: Path | None) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(self.study)
        if experiment is None:
            location = (artifact_root / self.study).resolve().as_uri() if artifact_root else None
            try:
                return self._client.create_experiment(
                    self.study, artifact_location=location, tags=EXPERIMENT_TAGS
                )
            except MlflowException:
                # Another process may have created it meanwhile.
                experiment = self._client.get_experiment_by_name(self.study)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            raise ServiceError(
                f"experiment '{self.study}' was deleted from {without_password(self.uri)}: "
                "restore it with `mlflow experiments restore --experiment-id "
                f"{experiment.experiment_id}`"
            )
        return str(experiment.experiment_id)

    def _read_stored(self) -> None:
        for run in search_runs(self._client, [self._experiment], "tags.`nal.kind` LIKE '%'"):
            tags = run.data.tags
            match tags["nal.kind"]:
                case "run":
                    key = tags.get("nal.sweep", ""), tags["nal.digest"]
                    if not (stored := self._runs.get(key)) or not stored.complete:
                        self._runs[key] = StoredRun.of(run)
                case "cell":
                    self._cell_runs.add(run)
                case "sweep":
                    self._sweeps[tags["nal.sweep"]] = run.info.run_id

    def _create_run(self, name: str, tags: Mapping[str, str], start_ms: int | None = None) -> str:
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

    def _write_run(
        self, result: RunResult, phase: Purpose, sweep: str, parent: str, protocol: Protocol
    ) -> StoredRun:
        from mlflow.entities import Param

        tags = run_tags(result, phase, self.study, sweep) | ({PARENT_TAG: parent} if parent else {})
        start_ms = int(time.time() * 1000) - int(1000 * sum(result.seconds))
        run_id = self._create_run(run_name(result.spec, phase), tags, start_ms)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in artifacts(result).items():
                Path(folder, name).write_text(text)
            self._client.log_artifacts(run_id, folder)
        metrics = metric_points(result, protocol=protocol)
        params = [Param(name, value) for name, value in run_params(result.spec).items()]
        for start_index in range(0, len(metrics), MAX_BATCH_METRICS):
            self._client.log_batch(
                run_id,
                metrics=metrics[start_index : start_index + MAX_BATCH_METRICS],
                params=[] if start_index else params,
            )
        # The status is written last, so that a run without it is incomplete.
        finished = result.status is Status.FINISHED
        self._client.set_terminated(run_id, "FINISHED" if finished else "FAILED")
        accuracy = result.last(TEST)
        return StoredRun(
            run_id, complete=True, parent=parent, accuracy=accuracy, status=result.status
        )
