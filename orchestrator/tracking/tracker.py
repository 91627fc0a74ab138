"""Writing of training runs, cells and sweeps to MLflow.

Each training run, each cell (all seeds of one method, scenario and values) and each sweep is one
MLflow run. A training run that two sweeps share is written once for each sweep, so that all runs
of a sweep are nested below the sweep.

A training run may be written again at any time. If its MLflow run is complete, nothing changes. An
MLflow run that a killed process left incomplete is replaced, so that no curve lacks a point or has
a point twice. Doubled MLflow runs are deleted when the runs of a sweep are first read. Therefore
every method may be called again after it has failed, once `Tracker.reopen` was called: what it has
written is found in the store.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import NO_CODE_FILES, STUDY_FILE
from orchestrator.tracking.creation import create_run_once
from orchestrator.tracking.doubles import find_distinct_runs
from orchestrator.tracking.projection import (
    PARENT_TAG,
    RunPhase,
    artifact_texts,
    cell_digest,
    cell_name,
    crossed_cell,
    dataset_inputs,
    mlflow_metrics,
    numeric_settings,
    protocol_for,
    run_name,
    run_params,
    run_tags,
    searched_names,
    source_tags,
)
from orchestrator.tracking.summaries import (
    EndedRun,
    cell_metrics,
    cell_params,
    summary_accuracies,
    sweep_metrics,
    sweep_params,
    sweep_tags,
)
from orchestrator.tracking.views import VIEWS
from reports.plan_record import PLAN_FILE, CellRecord, PlanRecord
from reports.store import mask_password, open_store, translate_store_errors
from reports.stored_runs import ENDED_STATUSES, RESUMABLE_STATUSES, open_reader
from trainables.errors import ServiceError
from trainables.run.result import RunResult, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import RunInfo

    from reports.stored_runs import MlflowRun
    from trainables.run.spec import RunSpec


EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    **{view.tag: view.to_json() for view in VIEWS},
}
"""Tags of an experiment: MLflow's pages for model training, and views of its runs."""

STARTED_TAG = "nal.started"
"""Name of the tag with the time at which the command of a sweep was last typed."""

MAX_BATCH_METRICS = 900
"""Largest number of metrics in one request to the MLflow store."""

MAX_NOTE_LENGTH = 5000
"""Largest length of the description of a sweep in MLflow, in characters."""


def was_fully_written(run: MlflowRun) -> bool:
    """Return whether an MLflow run was written completely, with its final status."""
    return run.info.status in ENDED_STATUSES


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A training run in the MLflow store.

    Attributes:
        run_id: MLflow's ID of the run.
        is_complete: whether the run was written completely.
        parent_id: ID of the MLflow run below which MLflow shows this run; "" for none.
        ended: how the training ended, and its accuracies.
    """

    run_id: str
    is_complete: bool
    parent_id: str
    ended: EndedRun

    @property
    def is_resumable(self) -> bool:
        """Whether the training may continue later, since it was stopped or ran out of memory."""
        return self.ended.status in RESUMABLE_STATUSES

    @classmethod
    def from_mlflow(cls, run: MlflowRun, parent_id: str) -> StoredRun:
        """Return the stored run that an MLflow run represents.

        Args:
            run: MLflow run.
            parent_id: ID of the MLflow run below which MLflow shows the run; "" for none.
        """
        ended = EndedRun(run.data.tags.get("nal.status", ""), summary_accuracies(run.data.metrics))
        return cls(run.info.run_id, was_fully_written(run), parent_id, ended)


@dataclass(slots=True)
class StoredSweep:
    """A sweep in the MLflow store.

    Attributes:
        run_id: ID of the MLflow run that represents the sweep.
        param_names: names of the parameters that were logged.
        logged_run_count: number of training runs in the metrics that were logged last; None if runs
            were written since then.
        end_ms: time at which the sweep last ended, in milliseconds since 1970; None if it has not
            ended.
        is_started: whether the time at which the sweep was started was logged.
    """

    run_id: str
    param_names: frozenset[str] = frozenset()
    logged_run_count: int | None = None
    end_ms: int | None = None
    is_started: bool = False

    @classmethod
    def from_mlflow(cls, run: MlflowRun) -> StoredSweep:
        """Return the stored sweep that an MLflow run represents."""
        return cls(
            run.info.run_id,
            frozenset(run.data.params),
            int(run.data.metrics.get("runs", 0)) or None,
            run.info.end_time,
            STARTED_TAG in run.data.tags,
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
        create_run: function that creates an MLflow run with a name and tags.
    """

    def __init__(
        self, client: MlflowClient, create_run: Callable[[str, Mapping[str, str]], RunInfo]
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
            # MLflow's database writes parameters first, and may fail before the metrics.
            has_logged_settings=bool(run.data.params) and bool(metrics),
            is_complete=was_fully_written(run),
        )

    def get_or_create(
        self, plan: PlanRecord, record: CellRecord, spec: RunSpec, sweep_run_id: str
    ) -> StoredCell:
        """Return a cell of a sweep, and create its MLflow run if this is missing.

        Args:
            plan: plan of the sweep.
            record: record of the cell in the plan.
            spec: spec of any run of the cell.
            sweep_run_id: ID of the MLflow run that represents the sweep.
        """
        sweep_digest, digest = plan.sweep, cell_digest(spec, plan.fixed_seeds)
        cell = self._cells.get((sweep_digest, digest))
        if cell is None:
            tags = {
                "nal.kind": "cell",
                "nal.cell": digest,
                "nal.sweep": sweep_digest,
                PARENT_TAG: sweep_run_id,
                **source_tags(plan.study, "sweep"),
            }
            name = cell_name(record.method, record.scenario, record.values)
            cell = StoredCell(self._create_run(name, tags).run_id)
            self._cells[sweep_digest, digest] = cell
        if not cell.has_logged_settings:
            self._log_to_cell(
                cell, numeric_settings(spec), len(record.seeds), cell_params(spec, record)
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

    def log_means(
        self,
        cell: StoredCell,
        plan: PlanRecord,
        record: CellRecord,
        ended_runs: Sequence[EndedRun],
    ) -> None:
        """Log the mean accuracies of a cell, if more of its runs have ended since the last time.

        Args:
            cell: cell in the MLflow store.
            plan: plan of the sweep.
            record: record of the cell in the plan.
            ended_runs: ended runs of the cell, at most one for each seed.
        """
        if len(ended_runs) > cell.logged_run_count:
            metrics = cell_metrics(plan, record, ended_runs)
            self._log_to_cell(cell, metrics, step=len(ended_runs))
            cell.logged_run_count = len(ended_runs)
        if not cell.is_complete and cell.logged_run_count >= len(record.seeds):
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
        self._artifact_root = artifact_root
        self._plan: PlanRecord | None = None  # plan of the current sweep
        self._extended_sweeps: set[str] = set()  # digests of sweeps to which runs were added
        self.reopen()

    def reopen(self) -> None:
        """Open the store again, and forget what was read from it.

        What an operation has written before it failed is then read from the store.

        Raises:
            ServiceError: if the MLflow server does not respond within ten seconds.
            HomeError: if the SQLite file or the folder for artifacts cannot be used.
        """
        self._client = open_store(self.uri)
        # by the digests of the sweep and of the training run
        self._stored_runs: dict[tuple[str, str], StoredRun] = {}
        # by the ID of the parent's MLflow run, then by digest
        self._runs_by_parent: dict[str, dict[str, StoredRun]] = defaultdict(dict)
        self._read_sweeps: set[str] = set()
        self._stored_cells = StoredCells(self._client, self._create_run)
        self._sweeps: dict[str, StoredSweep] = {}
        with translate_store_errors(self.uri):
            self._experiment_id = self._open_experiment()

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
            sweep = self._get_or_create_sweep(plan)
            run_id = sweep.run_id
            self._client.update_run(run_id, status="RUNNING")
            if not sweep.is_started or restored_start is None:
                started_at = restored_start or datetime.now(UTC)
                self._client.set_tag(run_id, STARTED_TAG, started_at.isoformat())
                sweep.is_started = True
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
            sweep = self._get_or_create_sweep(plan) if plan else None
            sweep_digest, parent_id = (plan.sweep if plan else ""), (sweep.run_id if sweep else "")
            self._read_stored_runs(sweep_digest)
            stored_cell = None
            if plan and cell:
                stored_cell = self._stored_cells.get_or_create(plan, cell, result.spec, parent_id)
                parent_id = stored_cell.run_id
            stored_run = self._stored_runs.get((sweep_digest, result.digest))
            is_outdated = stored_run is not None and stored_run.is_resumable and result.is_final
            if stored_run is None or not stored_run.is_complete or is_outdated:
                if stored_run:
                    self._client.delete_run(stored_run.run_id)
                self._set_stored_run(
                    sweep_digest,
                    result.digest,
                    self._write_run(result, phase, plan, cell, parent_id),
                )
                if sweep:
                    sweep.logged_run_count = None
                    self._extended_sweeps.add(sweep_digest)
            if plan and cell and stored_cell:
                ended_runs = [
                    run.ended
                    for run in self._runs_by_parent[stored_cell.run_id].values()
                    if run.is_complete and not run.is_resumable
                ]
                self._stored_cells.log_means(stored_cell, plan, cell, ended_runs)

    def finish_sweep(self, plan: PlanRecord, tables: Mapping[str, str]) -> None:
        """Write the plan and the tables to MLflow, and mark the current sweep as finished.

        A sweep that its time budget has ended early is marked as killed.

        Args:
            plan: plan of the sweep at the end of its command.
            tables: text of each results table by file name; MLflow shows `table.md` as the
                description of the sweep.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            self._write_plan(plan)
            sweep = self._get_or_create_sweep(plan)
            for name, text in tables.items():
                self._client.log_text(sweep.run_id, text, name)
            if note := tables.get("table.md", "")[:MAX_NOTE_LENGTH]:
                self._client.set_tag(sweep.run_id, "mlflow.note.content", note)
            if plan.state == "finished":
                self._end_sweep(plan, "FINISHED")
            else:
                self._end_incomplete(plan)

    def mark_interrupted(self) -> None:
        """Mark the current sweep and its incomplete cells as killed in MLflow.

        Raises:
            ServiceError: if the MLflow server has failed.
            HomeError: if the home folder cannot be written.
        """
        with translate_store_errors(self.uri):
            if self._plan:
                self._write_progress(self._plan)
                self._end_incomplete(self._plan)

    def _end_incomplete(self, plan: PlanRecord) -> None:
        """Set the status of a sweep and of its incomplete cells to killed."""
        for run_id in self._stored_cells.incomplete_run_ids(plan.sweep):
            self._client.set_terminated(run_id, "KILLED")
        self._end_sweep(plan, "KILLED")

    def _get_or_create_sweep(self, plan: PlanRecord) -> StoredSweep:
        """Return a sweep with the runs that the store has, and create its MLflow run if missing."""
        self._read_stored_runs(plan.sweep)
        sweep = self._sweeps.get(plan.sweep)
        if sweep is None:
            tags = {"nal.kind": "sweep", "nal.sweep": plan.sweep}
            tags |= source_tags(plan.study, "sweep")
            sweep = StoredSweep(self._create_run(f"sweep {plan.sweep[:8]}", tags).run_id)
            self._sweeps[plan.sweep] = sweep
        return sweep

    def _end_sweep(self, plan: PlanRecord, status: str) -> None:
        """Set the final status of a sweep, and its end unless no run was added since the last."""
        sweep = self._get_or_create_sweep(plan)
        end_ms = None if plan.sweep in self._extended_sweeps else sweep.end_ms
        self._client.set_terminated(sweep.run_id, status, end_time=end_ms)

    def _open_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(self.study)
        if experiment is None:
            root = self._artifact_root
            location = (root / self.study).resolve().as_uri() if root else None
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
        experiment_id = str(experiment.experiment_id)
        for name, value in EXPERIMENT_TAGS.items():
            if experiment.tags.get(name) != value:  # written by another version, or not at all
                self._client.set_experiment_tag(experiment_id, name, value)
        return experiment_id

    def _read_stored_runs(self, sweep_digest: str) -> None:
        """Read the MLflow runs of a sweep, and delete doubled ones, unless they have been read.

        Args:
            sweep_digest: digest of the sweep; "" for the runs without a sweep.
        """
        if sweep_digest in self._read_sweeps:
            return
        searched_tags = {"nal.sweep": sweep_digest} if sweep_digest else {"nal.phase": "train"}
        with open_reader(self.uri) as store:
            distinct = find_distinct_runs(store.read_runs(searched_tags, self._experiment_id))
        for run_id, parent_id in distinct.moved_parents.items():
            self._client.set_tag(run_id, PARENT_TAG, parent_id)
        for run in distinct.doubles:
            self._client.delete_run(run.info.run_id)
        self._read_sweeps.add(sweep_digest)
        for run in distinct.runs:
            run_id, tags = run.info.run_id, run.data.tags
            match tags["nal.kind"]:
                case "run":
                    parent_id = distinct.moved_parents.get(run_id) or tags.get(PARENT_TAG, "")
                    stored_run = StoredRun.from_mlflow(run, parent_id)
                    self._set_stored_run(sweep_digest, tags["nal.digest"], stored_run)
                case "cell":
                    self._stored_cells.add(run)
                case "sweep":
                    self._sweeps[sweep_digest] = StoredSweep.from_mlflow(run)

    def _set_stored_run(self, sweep_digest: str, digest: str, run: StoredRun) -> None:
        """Set the MLflow run of a training run of a sweep, in place of an earlier one."""
        if earlier_run := self._stored_runs.get((sweep_digest, digest)):
            del self._runs_by_parent[earlier_run.parent_id][digest]
        self._stored_runs[sweep_digest, digest] = run
        self._runs_by_parent[run.parent_id][digest] = run

    def _create_run(
        self, name: str, tags: Mapping[str, str], start_ms: int | None = None
    ) -> RunInfo:
        all_tags = {"nal.study": self.study, **tags}
        return create_run_once(self._client, self._experiment_id, name, all_tags, start_ms)

    def _write_plan(self, plan: PlanRecord) -> None:
        self._plan = plan
        sweep = self._get_or_create_sweep(plan)
        self._client.log_text(sweep.run_id, plan.to_json(), PLAN_FILE)
        self._write_progress(plan)

    def _write_progress(self, plan: PlanRecord) -> None:
        """Write the tags of a sweep, and those parameters and metrics that its MLflow run lacks."""
        from mlflow.entities import Metric, Param, RunTag

        sweep = self._get_or_create_sweep(plan)
        ended_runs = {
            digest: run.ended
            for (sweep_digest, digest), run in self._stored_runs.items()
            if sweep_digest == plan.sweep and run.is_complete
        }
        params, metrics = sweep_params(plan), sweep_metrics(plan, ended_runs)
        has_new_runs = len(ended_runs) != sweep.logged_run_count
        now_ms = int(time.time() * 1000)
        self._client.log_batch(
            sweep.run_id,
            metrics=[
                Metric(name, value, now_ms, len(ended_runs))
                for name, value in metrics.items()
                if has_new_runs
            ],
            params=[
                Param(name, value)
                for name, value in params.items()
                if name not in sweep.param_names
            ],
            tags=[RunTag(name, value) for name, value in sweep_tags(plan).items()],
        )
        sweep.param_names, sweep.logged_run_count = frozenset(params), len(ended_runs)

    def _write_run(
        self,
        result: RunResult,
        phase: RunPhase,
        plan: PlanRecord | None,
        cell: CellRecord | None,
        parent_id: str,
    ) -> StoredRun:
        from mlflow.entities import Param
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        tags = run_tags(result, phase, self.study, plan.sweep if plan else "")
        if plan and cell:
            tags["nal.cell"] = cell_digest(result.spec, plan.fixed_seeds)
        if parent_id:
            tags[PARENT_TAG] = parent_id
        start_ms = int(time.time() * 1000) - int(1000 * sum(result.seconds))
        if plan and not cell:
            cell = crossed_cell(plan, result.digest)
        searched = searched_names(plan, result.spec, cell) if plan else ()
        fixed_axes = plan.fixed_seeds if plan else {}
        name = run_name(result.spec, phase, searched, fixed_axes)
        run_info = self._create_run(name, tags, start_ms)
        run_id = run_info.run_id
        # The client would request the run once more for the address of its artifacts.
        artifacts = get_artifact_repository(run_info.artifact_uri, tracking_uri=self.uri)
        with tempfile.TemporaryDirectory() as temp_dir:
            for name, text in artifact_texts(result).items():
                Path(temp_dir, name).write_text(text)
            artifacts.log_artifacts(temp_dir)  # type: ignore[no-untyped-call]
        self._client.log_inputs(run_id, dataset_inputs(result))
        protocol = protocol_for(plan, result, phase, cell)
        metrics = mlflow_metrics(result, protocol=protocol, fixed_axes=fixed_axes)
        params = [Param(*item) for item in run_params(result.spec, fixed_axes).items()]
        for start_index in range(0, len(metrics), MAX_BATCH_METRICS):
            self._client.log_batch(
                run_id,
                metrics=metrics[start_index : start_index + MAX_BATCH_METRICS],
                params=[] if start_index else params,
            )
        # The status is written last, so that a run without it is incomplete.
        has_failed = result.status not in (Status.FINISHED, Status.STOPPED)
        self._client.set_terminated(run_id, "FAILED" if has_failed else "FINISHED")
        return StoredRun(
            run_id,
            is_complete=True,
            parent_id=parent_id,
            ended=EndedRun(str(result.status), summary_accuracies(result.summary(protocol))),
        )
