"""Reading a sweep back: its plan, and the runs that the plan names by digest, from MLflow alone."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reports.plan_record import PLAN_FILE, PlanRecord
from reports.store import explained, open_store, search_runs, shown
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
        status: how the run ended, as `trainables.run.result.Status` spells it.
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
    """Read a sweep's plan and its runs.

    Args:
        uri: of the store.
        sweep: name of a study (its latest sweep), or the beginning of a sweep's digest; None for
            the latest of all.

    Returns:
        The plan, and the recorded runs that it names, each digest once.

    Raises:
        UserError: there is no such sweep, or more than one.
        RecordError: the plan is damaged.
        ServiceError: the server does not answer.
        HomeError: the SQLite file cannot be used.
    """
    client = open_store(uri)
    with explained(uri):
        chosen = _choose(_sweeps(client), sweep, uri)
        plan = _read_plan(client, chosen)
        runs = _iter_runs(client, chosen.info.experiment_id, plan)
        return plan, [_recorded_run(run) for run in runs]


def _sweeps(client: MlflowClient) -> list[Run]:
    """Return the runs of all sweeps, the one whose command was last typed first."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = search_runs(client, experiments, "tags.`nal.kind` = 'sweep'") if experiments else ()
    return sorted(runs, key=lambda run: run.data.tags.get("nal.started", ""), reverse=True)


def _choose(runs: Sequence[Run], sweep: str | None, uri: str) -> Run:
    if not runs:
        raise UserError(
            f"no sweep is recorded in {shown(uri)}: run `python -m orchestrator sweep STUDY` first"
        )
    if sweep is None:
        return runs[0]
    # A study's name means the latest of its sweeps.
    latest = [run for run in runs if run.data.tags["nal.study"] == sweep][:1]
    found = latest or [run for run in runs if run.data.tags["nal.sweep"].startswith(sweep)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(_named, (found or runs)[:10]))
    what = f"{len(found)} sweeps begin with '{sweep}'" if found else f"no sweep '{sweep}'"
    raise UserError(f"{what} in {shown(uri)}; recorded, latest first: {listed}")


def _named(run: Run) -> str:
    return f"{run.data.tags['nal.study']} {run.data.tags['nal.sweep'][:12]}"


def _read_plan(client: MlflowClient, run: Run) -> PlanRecord:
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
    """Give each run of a plan once, as soon as it is found whole; stop when all are.

    The sweep's own are taken first; what it lacks is looked for among all runs.
    """
    missing = set(plan.digests)
    # MLflow has no query for a set of tags: a pass over the runs, latest first.
    every = "tags.`nal.kind` = 'run'"
    for query in (f"{every} AND tags.`nal.sweep` = '{plan.sweep}'", every):
        for run in search_runs(client, [experiment], query) if missing else ():
            digest = run.data.tags["nal.digest"]
            if digest in missing and run.info.status in ("FINISHED", "FAILED"):
                missing.remove(digest)
                yield run
            if not missing:
                return


def _recorded_run(run: Run) -> RecordedRun:
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
