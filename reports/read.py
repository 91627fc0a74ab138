"""Reading a sweep from MLflow: the plan of the sweep, and the runs that this plan names."""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reports.plan_record import PLAN_FILE, PlanRecord
from reports.store import (
    local_artifact_folder,
    mask_password,
    no_such_sweep,
    open_store,
    run_page_url,
    translate_store_errors,
)
from reports.stored_runs import ENDED_STATUSES, open_reader, preferred_run
from reports.words import shortened_list
from trainables.databases import database_path
from trainables.errors import HomeError, RecordError, UserError
from trainables.run.provenance import NO_COMMIT
from trainables.run.result import BIT_RELEVANT_KEYS, HISTORY_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reports.stored_runs import MlflowRun, StoreReader


_COMMIT_PATTERN = re.compile(r"[0-9a-f]{13,}")
"""Git commit in full, of which reports print the beginning."""

Curve = list[tuple[int, float]]
"""Values of a metric over the epochs of a run: pairs of epoch and value, in order."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A training run that has ended, as MLflow stores it.

    Attributes:
        digest: SHA-256 of the run's spec.
        status: how the run ended, such as "finished"; a value of `trainables.run.result.Status`.
        converged: whether the run converged.
        labels_sha256: SHA-256 of the noisy labels that the run was trained on.
        provenance: device and version of torch that trained the run, by the names in
            `BIT_RELEVANT_KEYS`.
        revision: revision of the training code that trained the run.
        metrics: last value of each metric, by name; accuracies are fractions.
        commit: git commit of the training code, such as "0123abcd, with uncommitted changes"; "" if
            it is not recorded.
        epochs: number of epochs that the run was to be trained for; 0 if it is not recorded.
        data_sha256: SHA-256 of the dataset's content; "" if it is not recorded.
        params: settings of the run as text, by their key in a study file.
        cell: digest of the run's cell, that is, of everything but its seeds; "" if the run has no
            cell, or was written by a version that did not store it.
        mlflow_id: MLflow's ID of the run; "" for a run without a store.
        page_url: address of the run's page on the MLflow server; "" if no server has the run.
    """

    digest: str
    status: str
    converged: bool
    labels_sha256: str
    provenance: Mapping[str, str]
    revision: int
    metrics: Mapping[str, float]
    commit: str = ""
    epochs: int = 0
    data_sha256: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    cell: str = ""
    mlflow_id: str = ""
    page_url: str = ""


@dataclass(frozen=True, slots=True)
class RecordedSweep:
    """A sweep that is recorded in an MLflow store.

    Attributes:
        study: name of the study.
        digest: digest of the sweep.
        started: time at which the sweep was started; None if it is not recorded.
    """

    study: str
    digest: str
    started: datetime | None


def read_sweep(uri: str, sweep: str | None = None) -> tuple[PlanRecord, list[RecordedRun]]:
    """Read the plan of a sweep and its recorded runs from an MLflow store.

    Args:
        uri: URI of the MLflow store.
        sweep: beginning of the sweep's digest, or name of a study, which selects the study's
            latest sweep; None for the latest sweep in the store.

    Returns:
        The plan, and one recorded run for each digest in the plan that has been recorded.

    Raises:
        UserError: if no sweep or more than one matches `sweep`.
        RecordError: if the plan is missing or damaged.
        ServiceError: if the server does not answer.
        HomeError: if the SQLite file cannot be used, or the folder of its artifacts was moved.
    """
    with open_reader(uri) as store:
        sweep_run = _select_sweep_run(_find_sweep_runs(store), sweep, uri)
        plan = _read_plan(uri, sweep_run)
        runs = _iter_planned_runs(store, sweep_run.info.experiment_id, plan)
        return plan, [_to_recorded_run(run, uri) for run in runs]


def read_curves(uri: str, runs: Sequence[RecordedRun], metric: str) -> dict[str, Curve]:
    """Read the values of a metric over the epochs of runs, by the digest of the run.

    Args:
        uri: URI of the MLflow store.
        runs: recorded runs that `read_sweep` has returned from this store.
        metric: name of the metric, such as "test/accuracy".

    Raises:
        ServiceError: if the server does not answer.
        HomeError: if the SQLite file cannot be used.
    """
    with open_reader(uri) as store:
        histories = store.read_histories([run.mlflow_id for run in runs], metric)
        return {run.digest: sorted(histories[run.mlflow_id]) for run in runs}


def read_latest_sweeps(
    uri: str, studies: Sequence[str]
) -> dict[str, tuple[PlanRecord, list[RecordedRun]]]:
    """Read the plan and the runs of the latest sweep of each study, by the name of the study.

    Args:
        uri: URI of the MLflow store.
        studies: names of studies; those without a recorded sweep are left out.

    Raises:
        RecordError: if a plan is missing or damaged.
        ServiceError: if the server does not answer.
        HomeError: if the SQLite file cannot be used, or the folder of its artifacts was moved.
    """
    with open_reader(uri) as store:
        recorded_studies = {run.data.tags["nal.study"] for run in _find_sweep_runs(store)}
    return {study: read_sweep(uri, study) for study in studies if study in recorded_studies}


def list_sweeps(uri: str) -> list[RecordedSweep]:
    """Return the recorded sweeps of an MLflow store, the latest first.

    Args:
        uri: URI of the MLflow store.

    Raises:
        ServiceError: if the server does not answer.
        HomeError: if the SQLite file cannot be used.
    """
    with open_reader(uri) as store:
        sweep_tags = [run.data.tags for run in _find_sweep_runs(store)]
    return [
        RecordedSweep(
            tags["nal.study"],
            tags["nal.sweep"],
            datetime.fromisoformat(tags["nal.started"]) if "nal.started" in tags else None,
        )
        for tags in sweep_tags
    ]


def sweep_starts(uri: str, study: str) -> dict[str, str]:
    """Return the start, date and time, of each recorded sweep of a study by the sweep's digest.

    The latest sweep is the first. Studies in two files of the same name have the same name.

    Args:
        uri: URI of the MLflow store.
        study: name of the study.

    Raises:
        ServiceError: if the server does not answer.
        HomeError: if the SQLite file cannot be used.
    """
    return {
        sweep.digest: f"{sweep.started.astimezone():%F %H:%M}"
        for sweep in list_sweeps(uri)
        if sweep.study == study and sweep.started is not None
    }


def _find_sweep_runs(store: StoreReader) -> list[MlflowRun]:
    """Return the MLflow run that represents each sweep, most recently started first."""
    runs_by_sweep: dict[tuple[str, str], list[MlflowRun]] = defaultdict(list)
    for run in store.read_runs({"nal.kind": "sweep"}):
        runs_by_sweep[run.info.experiment_id, run.data.tags["nal.sweep"]].append(run)
    runs = map(preferred_run, runs_by_sweep.values())
    return sorted(runs, key=lambda run: run.data.tags.get("nal.started", ""), reverse=True)


def _select_sweep_run(sweep_runs: Sequence[MlflowRun], sweep: str | None, uri: str) -> MlflowRun:
    """Return the MLflow run that represents the sweep with a given study name or digest.

    Args:
        sweep_runs: MLflow runs that represent sweeps, most recently started first.
        sweep: name of a study, or beginning of a sweep's digest; None for the latest sweep.
        uri: URI of the MLflow store, for messages.

    Raises:
        UserError: if no sweep or more than one matches `sweep`.
    """
    if not sweep_runs:
        advice = "run `python -m orchestrator sweep STUDY` first"
        if database_path(uri) is None:
            advice += ", or `python -m orchestrator sync` if runs are recorded in the home folder"
        raise UserError(f"no sweep is recorded in {mask_password(uri)}: {advice}")
    if sweep is None:
        return sweep_runs[0]
    latest_of_study = [run for run in sweep_runs if run.data.tags["nal.study"] == sweep][:1]
    matches = latest_of_study or [
        run for run in sweep_runs if run.data.tags["nal.sweep"].startswith(sweep)
    ]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise no_such_sweep(sweep, uri, map(_sweep_label, sweep_runs))
    choices = shortened_list(list(map(_sweep_label, matches)), 10)
    raise UserError(
        f"the digests of {len(matches)} sweeps begin with '{sweep}' in {mask_password(uri)}: "
        f"choose one of these sweeps, latest first: {choices}"
    )


def _sweep_label(run: MlflowRun) -> str:
    """Return a label of a sweep: the study's name and the first digits of the sweep's digest."""
    return f"{run.data.tags['nal.study']} {run.data.tags['nal.sweep'][:12]}"


def _read_plan(uri: str, sweep_run: MlflowRun) -> PlanRecord:
    """Read the plan of a sweep from the artifacts of its MLflow run.

    Raises:
        RecordError: if the plan is missing or damaged.
        HomeError: if the folder with the sweep's files is missing.
    """
    folder = local_artifact_folder(sweep_run.info.artifact_uri)
    if folder is not None and not folder.is_dir():
        raise HomeError(
            f"MLflow expects the files of sweep {sweep_run.data.tags['nal.sweep'][:12]} in "
            f"{folder}, which does not exist: move the folder back, or write the sweep to a store "
            "in its home folder with `python -m orchestrator sync`"
        )
    try:
        content = (
            _download_artifact(uri, sweep_run, PLAN_FILE)
            if folder is None
            else (folder / PLAN_FILE).read_bytes()
        )
        return PlanRecord.from_json(content)
    except (OSError, RecordError) as error:
        raise RecordError(
            f"sweep {sweep_run.data.tags['nal.sweep'][:12]} of "
            f"{sweep_run.data.tags['nal.study']}: {PLAN_FILE} cannot be read ({error}); run "
            "the sweep's command again to write this file anew"
        ) from error


def _download_artifact(uri: str, run: MlflowRun, name: str) -> bytes:
    """Return the content of an artifact that is not on this machine."""
    client = open_store(uri)
    with translate_store_errors(uri), tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run.info.run_id, name, folder)).read_bytes()


def _iter_planned_runs(
    store: StoreReader, experiment_id: str, plan: PlanRecord
) -> Iterator[MlflowRun]:
    """Yield the MLflow runs that a plan names, at most one for each digest.

    A run that is nested in the plan's sweep is preferred to a copy elsewhere in the experiment.
    Runs that are not completely written are left out.
    """
    digests, tags = plan.digests, {"nal.kind": "run"}
    own_runs = store.read_runs(tags | {"nal.sweep": plan.sweep}, experiment_id)
    for run in _distinct_runs(own_runs):
        if (digest := run.data.tags["nal.digest"]) in digests:
            digests.remove(digest)
            yield run
    yield from _distinct_runs(store.read_runs(tags, experiment_id, digests))


def _distinct_runs(runs: Iterable[MlflowRun]) -> Iterator[MlflowRun]:
    """Yield one of the completely written runs of each digest."""
    runs_by_digest: dict[str, list[MlflowRun]] = defaultdict(list)
    for run in runs:
        if run.info.status in ENDED_STATUSES:
            runs_by_digest[run.data.tags["nal.digest"]].append(run)
    yield from map(preferred_run, runs_by_digest.values())


def _to_recorded_run(run: MlflowRun, uri: str) -> RecordedRun:
    """Convert an MLflow run of a store into a `RecordedRun`."""
    tags = run.data.tags
    return RecordedRun(
        digest=tags["nal.digest"],
        status=tags["nal.status"],
        converged=tags.get("nal.converged", "yes") == "yes",
        labels_sha256=tags["nal.labels"],
        provenance={name: tags[f"nal.{name}"] for name in BIT_RELEVANT_KEYS},
        revision=int(run.data.params["revision"]),
        metrics=run.data.metrics,
        commit=describe_commit(tags.get("nal.commit", ""), tags.get("nal.dirty", "")),
        epochs=int(run.data.params.get("epochs", 0)),
        data_sha256=tags.get("nal.data", ""),
        params=run.data.params,
        cell=tags.get("nal.cell", ""),
        mlflow_id=run.info.run_id,
        page_url=run_page_url(uri, run.info.experiment_id, run.info.run_id),
    )


def describe_commit(commit: str, dirty: str) -> str:
    """Describe the commit of the training code, and whether it was changed.

    Args:
        commit: git commit, or commits of a run that was continued; "" or "not a checkout" if it is
            not known.
        dirty: "yes" if there were uncommitted changes, "no", or "unknown".
    """
    commits = HISTORY_SEPARATOR.join(
        part[:12] if _COMMIT_PATTERN.fullmatch(part) else part
        for part in commit.split(HISTORY_SEPARATOR)
    )
    if commits in ("", NO_COMMIT):
        return ""
    return f"{commits}, with uncommitted changes" if "yes" in dirty else commits
