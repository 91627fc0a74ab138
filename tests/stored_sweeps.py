"""Sweeps of fake runs in MLflow stores, what stores have of them, and stores in bad states."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fake_runs import record_run
from plans import random_data, searches_of, small_study

from orchestrator.home import Home
from orchestrator.planning.plan import Plan
from orchestrator.sweeping.sweep import Sweep
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.recording import SweepRecorder
from reports.report import build_report
from reports.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlflow.entities import Run

    from search_spaces.loader import LoadedStudy


class FakeSweep:
    """A sweep of fake runs, written to MLflow as the command `sweep` does.

    Attributes:
        name: name of the study and of its MLflow experiment.
        plan: plan of the sweep.
        notices: lines for the user.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.home = Home(home)
        self.home.create()
        self.name = name
        self.study: LoadedStudy = small_study(trials=2)
        self.plan = Plan(name, self.study.study, random_data())
        self.notices: list[str] = []

    def carry_out(self, uri: str, on_end: Callable[[int], None] = lambda _: None) -> None:
        """Carry the sweep out.

        Args:
            uri: URI of the MLflow store.
            on_end: callback that receives the number of runs that have ended so far.
        """
        with BackgroundTracker(self.home, uri, self.name, self.notices.append) as tracker:
            tracker.flush()
            sweep = Sweep(self.plan, self.home.path, searches_of(self.home.path))
            archive = SweepArchive.of(self.home.path, self.plan.digest)
            recorder = SweepRecorder(sweep, self.study, archive, tracker)
            recorder.resume()
            count = 0
            while (task := sweep.next()) is not None:
                sweep.end(task, record_run(self.home.path, task.spec))
                count += 1
                on_end(count)
            final_plan = recorder.save_plan()
            report = tracker.read(lambda: build_report(uri, self.home.path, self.plan.digest))
            tracker.finish_sweep(final_plan, report.files)


def runs_of(uri: str, name: str) -> list[Run]:
    """Return the active MLflow runs of an experiment."""
    client = open_store(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=5000))


def content(uri: str, name: str) -> list[Any]:
    """Return what a store has of an experiment, without the times, IDs and places of its runs."""
    client, runs = open_store(uri), runs_of(uri, name)
    titles = {run.info.run_id: run.info.run_name for run in runs}
    varying = {"mlflow.parentRunId", "nal.key", "nal.started", "mlflow.note.content"}
    rows = []
    for run in runs:
        tags = run.data.tags
        metric = "train/loss" if tags["nal.kind"] == "run" else "runs"
        points = client.get_metric_history(run.info.run_id, metric)
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        rows.append(
            [
                run.info.run_name,
                run.info.status,
                titles.get(tags.get("mlflow.parentRunId", ""), "none"),
                {key: value for key, value in tags.items() if key not in varying},
                dict(run.data.params),
                {key: round(value, 9) for key, value in run.data.metrics.items()},
                [(point.step, point.value) for point in points] if metric != "runs" else [],
                files,
            ]
        )
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def spoil(uri: str, name: str) -> None:
    """Put what a store has of a finished sweep into the states that lost answers and kills leave.

    Afterwards there are three runs of the sweep, with children below each; two of a cell, with
    children below each; and a training run that is doubled, one that is doubled without an end, one
    of which only a run without an end is left, one without its status, and one that is missing.

    Args:
        uri: URI of the MLflow store.
        name: name of the study and of its experiment.
    """
    client, runs = open_store(uri), runs_of(uri, name)
    by_kind: dict[str, list[Run]] = {"sweep": [], "cell": [], "run": []}
    for run in runs:
        by_kind[run.data.tags["nal.kind"]].append(run)

    def double(run: Run, status: str = "RUNNING", **changes: str) -> str:
        tags = {**run.data.tags, **changes}
        created = client.create_run(run.info.experiment_id, tags=tags, run_name=run.info.run_name)
        if status != "RUNNING":
            client.set_terminated(created.info.run_id, status)
        run_id: str = created.info.run_id
        return run_id

    (sweep,) = by_kind["sweep"]
    identity = {key: sweep.data.tags[key] for key in ("nal.kind", "nal.sweep", "nal.study")}
    empty = [
        client.create_run(sweep.info.experiment_id, tags=identity).info.run_id for _ in range(2)
    ]
    client.update_run(sweep.info.run_id, status="RUNNING")
    cell = by_kind["cell"][0]
    other_cell = double(cell, **{"mlflow.parentRunId": empty[0]})
    client.set_tag(by_kind["cell"][1].info.run_id, "mlflow.parentRunId", empty[1])
    seeds = [run for run in by_kind["run"] if run.data.tags["nal.phase"] == "confirm"]
    trials = [run for run in by_kind["run"] if run.data.tags["nal.phase"] != "confirm"]
    below = [run for run in seeds if run.data.tags["mlflow.parentRunId"] == cell.info.run_id]
    client.set_tag(below[0].info.run_id, "mlflow.parentRunId", other_cell)
    double(below[1], "FINISHED")
    double(below[1])
    double(trials[0], **{"mlflow.parentRunId": empty[0]})
    double(trials[1], **{"mlflow.parentRunId": "gone"})
    client.delete_run(trials[1].info.run_id)
    client.delete_tag(trials[2].info.run_id, "nal.status")
    client.update_run(trials[2].info.run_id, status="RUNNING")
    client.delete_run(seeds[-1].info.run_id)
