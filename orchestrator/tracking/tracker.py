"""Writing of training runs, cells and sweeps to MLflow.

Each training run, each cell (all seeds of one method, scenario and values) and each sweep is one
MLflow run. A training run that two sweeps share is written once for each sweep, so that all runs
of a sweep are nested below the sweep.

A training run may be written again at any time. If its MLflow run is complete, nothing changes. An
MLflow run that a killed process left incomplete is replaced, so that no curve lacks a point or has
a point twice.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import NO_CODE_FILES, STUDY_FILE
from orchestrator.tracking.projection import (
    PARENT_TAG,
    RunPhase,
    artifact_texts,
    cell_digest,
    cell_name,
    mlflow_metrics,
    numeric_hyperparameters,
    protocol_for,
    run_name,
    run_params,
    run_tags,
)
from reports.plan_record import PLAN_FILE, CellRecord, PlanRecord
from reports.store import mask_password, open_store, translate_store_errors
from reports.stored_runs import read_runs
from trainables.errors import ServiceError
from trainables.run.metrics import CELL_MEAN, CELL_STD, TEST_ACCURACY, TEST_LAST
from trainables.run.result import RunResult, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlflow import MlflowClient

    from reports.stored_runs import MlflowRun
    from trainables.run.protocols import Protocol


EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Tags of an experiment that make MLflow show the pages for model training."""

MAX_BATCH_METRICS = 900
"""Largest number of metrics in one request to the MLflow store."""

MAX_NOTE_LENGTH = 5000
"""Largest length of the description of a sweep in MLflow, in characters."""


def was_fully_written(run: MlflowRun) -> bool:
    """Return whether an MLflow run was written completely, with its final status."""
    return run.info.status in ("FINISHED", "FAILED")


RESUMABLE_STATUSES = (Status.OUT_OF_MEMORY, Status.STOPPED)
"""Statuses of runs whose training may continue later."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A training run in the MLflow store.

    Attributes:
        run_id: MLflow's ID of the run.
        is_complete: whether the run was written completely.
        parent_id: ID of the MLflow run below which MLflow shows this run; "" for none.
        test_accuracy: accuracy on the test split after the last epoch; None if not evaluated.
        training_status: `Status` of the training, such as "finished" or "diverged".
    """

    run_id: str
    is_complete: bool
    parent_id: str
    test_accuracy: float | None
    training_status: str

    @property
    def is_resumable(self) -> bool:
        """Whether the training may continue later, since it was stopped or ran out of memory."""
        return self.training_status in RESUMABLE_STATUSES

    @classmethod
    def from_mlflow(cls, run: MlflowRun) -> StoredRun:
        """Return the stored run that an MLflow run represents."""
        tags, test_accuracy = run.data.tags, run.data.metrics.get(TEST_LAST)
        parent_id = tags.get(PARENT_TAG, "")
        return cls(
            run.info.run_id, was_fully_written(run), parent_id, test_accuracy, tags["nal.status"]
        )


@dataclass(slots=True)
class StoredCell:
    """A cell (all seeds of one method, scenario and values) in the MLflow store.

    Attributes:
        run_id: ID of the MLflow run that represents the cell.
        logged_run_count: number of training runs in the mean accuracy that was logged last.
        has_logged_settings: whether the method, scenario and values of the cell were logged.
        is_complete: whether the mean accuracy that was logged last includes all seeds.
    """

    run_id: str
    logged_run_count: int = 0
    has_logged_settings: bool = False
    is_complete: bool = False


class StoredCells:
    """The cells (all seeds of one method, scenario and values) in a study's MLflow experiment.

    Args:
        client: client of the MLflow store.
        create_run: function that creates an MLflow run with a name and tags, and returns its ID.
    """

    def __init__(
        self, client: MlflowClient, create_run: Callable[[str, Mapping[str, str]], str]
    ) -> None:
        self._client = client
        self._create_run = create_run
        # by the digests of the sweep and of the cell
        self._cells: dict[tuple[str, str], StoredCell] = {}

    def add(self, run: MlflowRun) -> None:
        """Add a cell that was read from the MLflow store.

        Args:
            run: MLflow run that represents the cell.
        """
        tags, metrics = run.data.tags, run.data.metrics
        self._cells[tags.get("nal.sweep", ""), tags["nal.cell"]] = StoredCell(
            run.info.run_id,
            logged_run_count=int(metrics.get("n", 0) + metrics.get("diverged", 0)),
            has_logged_settings=bool(run.data.params),
            is_complete=was_fully_written(run),
        )

    def get_or_create(
        self, sweep_digest: str, digest: str, record: CellRecord, sweep_run_id: str
    ) -> StoredCell:
        """Return a cell of a sweep, and create its MLflow run if this is missing.

        Args:
            sweep_digest: digest of the sweep.
            digest: digest of the cell, see `cell_digest`.
            record: record of the cell in the sweep's plan.
            sweep_run_id: ID of the MLflow run that represents the sweep.
        """
        cell = self._cells.get((sweep_digest, digest))
        if cell is None:
            tags = {
                "nal.kind": "cell",
                "nal.cell": digest,
                "nal.sweep": sweep_digest,
                PARENT_TAG: sweep_run_id,
            }
            name = cell_name(record.method, record.scenario, record.values)
            cell = StoredCell(self._create_run(name, tags))
            self._cells[sweep_digest, digest] = cell
        if not cell.has_logged_settings:
            settings = {"method": record.method, "scenario": record.scenario, **record.values}
            params = {name: str(value) for name, value in settings.items()}
            self._log_to_cell(
                cell, numeric_hyperparameters(record.values), len(record.seeds), params
            )
            cell.has_logged_settings = True
        return cell

    def incomplete_run_ids(self, sweep_digest: str) -> list[str]:
        """Return the MLflow run IDs of a sweep's cells in which the runs of some seeds are missing.

        Args:
            sweep_digest: digest of the sweep.
        """
        return [
            cell.run_id
            for (digest, _), cell in self._cells.items()
            if digest == sweep_digest and not cell.is_complete
        ]

    def log_mean(
        self, cell: StoredCell, ended_runs: Sequence[StoredRun], planned_count: int
    ) -> None:
        """Log the mean accuracy of a cell, if more of its runs have ended since the last time.

        Args:
            cell: cell in the MLflow store.
            ended_runs: ended runs of the cell, at most one for each seed.
            planned_count: number of runs of the complete cell.
        """
        if len(ended_runs) > cell.logged_run_count:
            self._log_to_cell(cell, _cell_metrics(ended_runs), step=len(ended_runs))
            cell.logged_run_count = len(ended_runs)
        if not cell.is_complete and cell.logged_run_count >= planned_count:
            self._client.set_terminated(cell.run_id, "FINISHED")
            cell.is_complete = True

    def _log_to_cell(
        self,
        cell: StoredCell,
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
    """Return the MLflow metrics of a cell: counts of runs, mean and standard deviation."""
    finished_runs = [run for run in runs if run.training_status == Status.FINISHED]
    accuracies = [run.test_accuracy for run in finished_runs if run.test_accuracy is not None]
    metrics = {"n": float(len(finished_runs)), "diverged": float(len(runs) - len(finished_runs))}
    if accuracies:
        metrics[CELL_MEAN] = mean(accuracies)
    if len(accuracies) >= 2:
        metrics[CELL_STD] = stdev(accuracies)
    return metrics


class Tracker:
    """Writer of one study's training runs, cells and sweeps to its MLflow experiment.

    Args:
        uri: URI of the MLflow store, sqlite:///PATH or http(s)://HOST:PORT.
        artifact_root: folder for MLflow's artifacts; None if the MLflow server chooses the folder.
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
        # by the digests of the sweep and of the training run
        self._stored_runs: dict[tuple[str, str], StoredRun] = {}
        # by the ID of the parent's MLflow run, then by digest
        self._runs_by_parent: dict[str, dict[str, StoredRun]] = defaultdict(dict)
        self._read_sweeps: set[str] = set()
        self._stored_cells = StoredCells(self._client, self._create_run)
        self._sweep_run_ids: dict[str, str] = {}
        self._plan: PlanRecord | None = None  # plan of the current sweep
        self._sweep_run_id = ""  # of the current sweep
        with translate_store_errors(uri):
            self._experiment_id = self._open_experiment(artifact_root)

    def start_sweep(
        self,
        plan: PlanRecord,
        study_yaml: str,
        code_files: Mapping[str, str] = NO_CODE_FILES,
        restored_start: datetime | None = None,
    ) -> None:
        """Make a sweep the current sweep, and write its plan and study to MLflow.

        Args:
            plan: plan of the sweep.
            study_yaml: study, as changed by flags, as YAML text.
            code_files: contents of the study's code files, by path relative to the study.
            restored_start: time at which a sweep that is only restored from records was started,
                unless MLflow has that time; None if the sweep is carried out now.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            self._read_stored_runs(plan.sweep)
            run_id = self._sweep_run_ids.get(plan.sweep)
            is_new = run_id is None
            if run_id is None:
                run_id = self._create_run(
                    f"sweep {plan.sweep[:8]}", {"nal.kind": "sweep", "nal.sweep": plan.sweep}
                )
                self._sweep_run_ids[plan.sweep] = run_id
            self._sweep_run_id = run_id
            self._client.update_run(run_id, status="RUNNING")
            if is_new or restored_start is None:
                started_at = restored_start or datetime.now(UTC)
                self._client.set_tag(run_id, "nal.started", started_at.isoformat())
            for path, content in {**code_files, STUDY_FILE: study_yaml}.items():
                self._client.log_text(run_id, content, path)
            self._write_plan(plan)

    def update_plan(self, plan: PlanRecord) -> None:
        """Write the updated plan of the current sweep to MLflow.

        Args:
            plan: updated plan.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            self._write_plan(plan)

    def record(self, result: RunResult, phase: RunPhase, cell: CellRecord | None = None) -> None:
        """Write a training run that has ended to MLflow, unless its MLflow run is complete.

        The MLflow run of a training run that was stopped or ran out of memory is replaced when the
        result is final.

        Args:
            result: result of the training run.
            phase: phase of the run; "train" for a run without a sweep.
            cell: cell of the run in the confirm phase; None for a run that belongs to no cell.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            plan = self._plan if phase != "train" else None
            sweep_digest, parent_id = (plan.sweep, self._sweep_run_id) if plan else ("", "")
            self._read_stored_runs(sweep_digest)
            stored_cell = None
            if plan and cell:
                digest = cell_digest(result.spec, plan.fixed_seeds)
                stored_cell = self._stored_cells.get_or_create(
                    sweep_digest, digest, cell, parent_id
                )
                parent_id = stored_cell.run_id
            stored_run = self._stored_runs.get((sweep_digest, result.digest))
            is_outdated = stored_run is not None and stored_run.is_resumable and result.is_final
            if stored_run is None or not stored_run.is_complete or is_outdated:
                if stored_run:
                    self._client.delete_run(stored_run.run_id)
                protocol = protocol_for(plan, result, phase, cell)
                self._set_stored_run(
                    sweep_digest,
                    result.digest,
                    self._write_run(result, phase, sweep_digest, parent_id, protocol),
                )
            if stored_cell and cell:
                ended_runs = [
                    run
                    for run in self._runs_by_parent[stored_cell.run_id].values()
                    if run.is_complete and not run.is_resumable
                ]
                self._stored_cells.log_mean(stored_cell, ended_runs, len(cell.seeds))

    def finish_sweep(self, plan: PlanRecord, tables: Mapping[str, str]) -> None:
        """Write the final plan and the tables to MLflow, and mark the current sweep as finished.

        Args:
            plan: final plan of the sweep.
            tables: text of each results table by file name; MLflow shows `table.md` as the
                description of the sweep.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            self._write_plan(plan)
            for name, text in tables.items():
                self._client.log_text(self._sweep_run_id, text, name)
            if note := tables.get("table.md", "")[:MAX_NOTE_LENGTH]:
                self._client.set_tag(self._sweep_run_id, "mlflow.note.content", note)
            self._client.set_terminated(self._sweep_run_id, "FINISHED")

    def mark_interrupted(self) -> None:
        """Mark the current sweep and its incomplete cells as killed in MLflow.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            if self._plan:
                for run_id in [
                    *self._stored_cells.incomplete_run_ids(self._plan.sweep),
                    self._sweep_run_id,
                ]:
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
                # Another process may have created the experiment meanwhile.
                experiment = self._client.get_experiment_by_name(self.study)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            raise ServiceError(
                f"MLflow experiment '{self.study}' in {mask_password(self.uri)} was deleted: "
                "restore the experiment with `mlflow experiments restore --experiment-id "
                f"{experiment.experiment_id}`"
            )
        return str(experiment.experiment_id)

    def _read_stored_runs(self, sweep_digest: str) -> None:
        """Read the MLflow runs of a sweep, unless they have been read.

        Args:
            sweep_digest: digest of the sweep; "" for the runs without a sweep.
        """
        if sweep_digest in self._read_sweeps:
            return
        self._read_sweeps.add(sweep_digest)
        tags = {"nal.sweep": sweep_digest} if sweep_digest else {"nal.phase": "train"}
        for run in read_runs(self._client, self._experiment_id, tags):
            match run.data.tags["nal.kind"]:
                case "run":
                    digest = run.data.tags["nal.digest"]
                    known_run = self._stored_runs.get((sweep_digest, digest))
                    if known_run is None or not known_run.is_complete:
                        self._set_stored_run(sweep_digest, digest, StoredRun.from_mlflow(run))
                case "cell":
                    self._stored_cells.add(run)
                case "sweep":
                    self._sweep_run_ids[sweep_digest] = run.info.run_id

    def _set_stored_run(self, sweep_digest: str, digest: str, run: StoredRun) -> None:
        """Set the MLflow run of a training run of a sweep, in place of an earlier one."""
        if earlier_run := self._stored_runs.get((sweep_digest, digest)):
            del self._runs_by_parent[earlier_run.parent_id][digest]
        self._stored_runs[sweep_digest, digest] = run
        self._runs_by_parent[run.parent_id][digest] = run

    def _create_run(self, name: str, tags: Mapping[str, str], start_ms: int | None = None) -> str:
        run = self._client.create_run(
            self._experiment_id,
            start_time=start_ms,
            tags={"nal.study": self.study, **tags},
            run_name=name,
        )
        return str(run.info.run_id)

    def _write_plan(self, plan: PlanRecord) -> None:
        self._plan = plan
        self._client.set_tag(self._sweep_run_id, "nal.title", plan.title)
        self._client.set_tag(self._sweep_run_id, "nal.state", plan.state)
        self._client.log_text(self._sweep_run_id, plan.to_json(), PLAN_FILE)

    def _write_run(
        self,
        result: RunResult,
        phase: RunPhase,
        sweep_digest: str,
        parent_id: str,
        protocol: Protocol,
    ) -> StoredRun:
        from mlflow.entities import Param

        tags = run_tags(result, phase, self.study, sweep_digest)
        if parent_id:
            tags[PARENT_TAG] = parent_id
        start_ms = int(time.time() * 1000) - int(1000 * sum(result.seconds))
        run_id = self._create_run(run_name(result.spec, phase), tags, start_ms)
        with tempfile.TemporaryDirectory() as temp_dir:
            for name, text in artifact_texts(result).items():
                Path(temp_dir, name).write_text(text)
            self._client.log_artifacts(run_id, temp_dir)
        metrics = mlflow_metrics(result, protocol=protocol)
        params = [Param(name, value) for name, value in run_params(result.spec).items()]
        for start_index in range(0, len(metrics), MAX_BATCH_METRICS):
            self._client.log_batch(
                run_id,
                metrics=metrics[start_index : start_index + MAX_BATCH_METRICS],
                params=[] if start_index else params,
            )
        # The status is written last, so that a run without it is incomplete.
        is_finished = result.status is Status.FINISHED
        self._client.set_terminated(run_id, "FINISHED" if is_finished else "FAILED")
        return StoredRun(
            run_id,
            is_complete=True,
            parent_id=parent_id,
            test_accuracy=result.last_value(TEST_ACCURACY),
            training_status=result.status,
        )
