"""The one writer of MLflow: runs, cells and sweeps, written from the runs' records.

A run of MLflow stands for a run in one sweep: one that serves two sweeps is written below both, so
that each has all its trials, candidates, cells and seeds below itself.

Whatever is written can be written again: a run that is there is left alone, one that a killed
driver left half-written is replaced, so that no curve has a hole or a double.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import STUDY_FILE
from orchestrator.tracking.cells import Cells, KnownRun
from orchestrator.tracking.projection import (
    PARENT,
    Purpose,
    artifacts,
    cell_id,
    metric_points,
    run_name,
    run_params,
    run_tags,
)
from reports.plan_record import PLAN_FILE, CellRecord, PlanRecord
from reports.store import explained, open_store, shown
from trainables.errors import ServiceError
from trainables.result import RunResult, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.entities import Run


EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Opens the experiment in the pages for model training, not those for language models."""
_BATCH = 900
_PAGE = 1000
_LONGEST_NOTE = 5000


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
        self._cells = Cells(self._client, self._create)
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
            home = None
            if plan and cell:
                name = cell_id(result.spec, plan.fixed_seeds)
                home = self._cells.find(sweep, name, cell, parent)
                parent = home.run_id
            known = self._runs.get((sweep, result.digest))
            outdated = known is not None and known.unfinished and result.final
            if known is None or not known.whole or outdated:
                if known:
                    self._client.delete_run(known.run_id)
                self._runs[sweep, result.digest] = self._write(result, phase, sweep, parent)
            if home and cell:
                seeds = [run for run in self._runs.values() if run.parent == home.run_id]
                ended = [run for run in seeds if run.whole and not run.unfinished]
                self._cells.show(home, ended, len(cell.seeds))

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
                for run_id in [*self._cells.unfinished(self._plan.sweep), self._sweep_run]:
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
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                "tags.`nal.kind` LIKE '%'",
                max_results=_PAGE,
                page_token=token,
            )
            for run in page:
                self._note(run)
            token = page.token
            if not token:
                return

    def _note(self, run: Run) -> None:
        tags = run.data.tags
        match tags["nal.kind"]:
            case "run":
                key = tags.get("nal.sweep", ""), tags["nal.digest"]
                if not (known := self._runs.get(key)) or not known.whole:
                    self._runs[key] = KnownRun.of(run)
            case "cell":
                self._cells.note(run)
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
        from mlflow.entities import Metric, Param

        tags = run_tags(result, phase, self.study, sweep) | ({PARENT: parent} if parent else {})
        start = int(time.time() * 1000) - int(1000 * sum(result.seconds))
        run_id = self._create(run_name(result.spec, phase), tags, start)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in artifacts(result).items():
                Path(folder, name).write_text(text)
            self._client.log_artifacts(run_id, folder)
        points = [Metric(p.metric, p.value, p.timestamp, p.step) for p in metric_points(result)]
        params = [Param(name, value) for name, value in run_params(result.spec).items()]
        for first in range(0, len(points), _BATCH):
            self._client.log_batch(
                run_id, metrics=points[first : first + _BATCH], params=[] if first else params
            )
        # The status comes last: a run without it is known to be half-written.
        finished = result.status is Status.FINISHED
        self._client.set_terminated(run_id, "FINISHED" if finished else "FAILED")
        accuracy = result.summary().get("test/accuracy_last")
        return KnownRun(run_id, whole=True, parent=parent, accuracy=accuracy, status=result.status)
