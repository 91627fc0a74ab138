"""Reading of a sweep from MLflow: its plan, and the runs that the plan names by digest."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reports.plan_record import PLAN_FILE, PlanRecord
from reports.store import open_store, search_runs, translate_store_errors, without_password
from trainables.errors import RecordError, UserError
from trainables.run.result import BIT_RELEVANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run that has ended, as MLflow stores it.

    Attributes:
        digest: SHA-256 of the run's spec.
        status: value of `trainables.run.result.Status`.
        converged: whether the run converged.
        labels: SHA-256 of the noisy labels that the run was trained on.
        provenance: device and version of torch, by the names in `BIT_RELEVANT`.
        revision: revision of the training code.
        metrics: last value of each metric, by name; accuracies are fractions.
    """

    digest: str
    status: str
    converged: bool
    labels: str
    provenance: Mapping[str, str]
    revision: int
    metrics: Mapping[str, float]


def read_sweep(uri: str, sweep: str | None = None) -> tuple[PlanRecord, list[RecordedRun]]:
    """Read the plan and the runs of a sweep.

    Args:
        uri: URI of the MLflow store.
        sweep: name of a study, for its latest sweep, or the beginning of a sweep's digest; None
            for the latest sweep of all studies.

    Returns:
        The plan, and the recorded runs that it names, each digest once.

    Raises:
        UserError: if no sweep or more than one matches.
        RecordError: if the plan is damaged.
        ServiceError: if the server does not answer.
        HomeError: if the SQLite file cannot be used.
    """
    client = open_store(uri)
    with translate_store_errors(uri):
        sweep_run = _find_sweep(_sweep_runs(client), sweep, uri)
        plan = _read_plan(client, sweep_run)
        runs = _iter_runs(client, sweep_run.info.experiment_id, plan)
        return plan, [_recorded_run(run) for run in runs]


def _sweep_runs(client: MlflowClient) -> list[Run]:
    """Return the MLflow runs of all sweeps, the most recently started first."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = search_runs(client, experiments, "tags.`nal.kind` = 'sweep'") if experiments else ()
    return sorted(runs, key=lambda run: run.data.tags.get("nal.started", ""), reverse=True)


def _find_sweep(runs: Sequence[Run], sweep: str | None, uri: str) -> Run:
    """Return the MLflow run of the sweep that a name or digest selects.

    Args:
        runs: MLflow runs of all sweeps, the most recently started first.
        sweep: name of a study, or the beginning of a sweep's digest; None for the first run.
        uri: URI of the MLflow store, for messages.

    Raises:
        UserError: if no sweep or more than one matches.
    """
    if not runs:
        raise UserError(
            f"no sweep is recorded in {without_password(uri)}: run `python -m orchestrator sweep "
            "STUDY` first"
        )
    if sweep is None:
        return runs[0]
    # A study's name means the latest of its sweeps.
    latest = [run for run in runs if run.data.tags["nal.study"] == sweep][:1]
    matches = latest or [run for run in runs if run.data.tags["nal.sweep"].startswith(sweep)]
    if len(matches) == 1:
        return matches[0]
    candidates = ", ".join(map(_sweep_label, (matches or runs)[:10]))
    problem = f"{len(matches)} sweeps begin with '{sweep}'" if matches else f"no sweep '{sweep}'"
    raise UserError(f"{problem} in {without_password(uri)}; recorded, latest first: {candidates}")


def _sweep_label(run: Run) -> str:
    """Return the study and the beginning of the digest of a sweep."""
    return f"{run.data.tags['nal.study']} {run.data.tags['nal.sweep'][:12]}"


def _read_plan(client: MlflowClient, run: Run) -> PlanRecord:
    """Read the plan of a sweep.

    Raises:
        RecordError: if the plan is missing or damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(run.info.run_id, PLAN_FILE, folder)
            return PlanRecord.from_json(Path(path).read_text())
        except (OSError, RecordError) as error:
            raise RecordError(
                f"sweep {run.data.tags['nal.sweep'][:12]} of {run.data.tags['nal.study']}: "
                f"{PLAN_FILE} cannot be read ({error}); type its command again, which writes it "
                "anew"
            ) from error


def _iter_runs(client: MlflowClient, experiment: str, plan: PlanRecord) -> Iterator[Run]:
    """Yield one completely written MLflow run for each digest of a plan that has such a run.

    Runs of this sweep come first. The other digests are searched for among all runs of the
    experiment.
    """
    missing = set(plan.digests)
    # MLflow cannot search for a set of tag values, so all runs are read, latest first.
    all_runs = "tags.`nal.kind` = 'run'"
    for query in (f"{all_runs} AND tags.`nal.sweep` = '{plan.sweep}'", all_runs):
        for run in search_runs(client, [experiment], query) if missing else ():
            digest = run.data.tags["nal.digest"]
            if digest in missing and run.info.status in ("FINISHED", "FAILED"):
                missing.remove(digest)
                yield run
            if not missing:
                return


def _recorded_run(run: Run) -> RecordedRun:
    """Convert an MLflow run into a `RecordedRun`."""
    tags = run.data.tags
    return RecordedRun(
        digest=tags["nal.digest"],
        status=tags["nal.status"],
        converged=tags.get("nal.converged", "yes") == "yes",
        labels=tags["nal.labels"],
        provenance={name: tags[f"nal.{name}"] for name in BIT_RELEVANT},
        revision=int(run.data.params["revision"]),
        metrics=run.data.metrics,
    )
