"""Removal of a sweep from a home folder, with the runs, MLflow runs and searches that only it uses.

A removal is decided by one renaming: the folder of the sweep, with the list of its runs, moves to
`trash/`. What follows can be interrupted at any time, and is finished by the next command that
opens the store of the home folder.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import SweepArchive, iter_archives
from reports.store import home_database, home_store_uri, local_artifact_folder, open_store
from trainables.errors import HomeError
from trainables.locks import file_lock
from trainables.run.record import Record, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from orchestrator.home import Home
    from reports.plan_record import PlanRecord

TRASH_FOLDER = "trash"
"""Name of the folder of the home to which a sweep moves before its files are deleted."""

RUN_LIST = "removed-runs.json"
"""Name of the file, in the folder of a sweep to remove, that lists the runs to remove with it."""

MAX_RUNS_PER_COMMAND = 200
"""Largest number of runs in one command line of `mlflow gc`."""


@dataclass(frozen=True, slots=True)
class SweepUse:
    """The runs of a sweep in a home folder, and which of them nothing else uses.

    Attributes:
        archive: folder with the plan of the sweep.
        plan: plan of the sweep.
        digests: digests of its runs that have a folder, with the runs that they need.
        own_digests: those of them that no other sweep and no other run uses.
    """

    archive: SweepArchive
    plan: PlanRecord
    digests: frozenset[str]
    own_digests: frozenset[str]


def read_sweep_uses(home: Home) -> list[SweepUse]:
    """Return the sweeps in a home folder, least recently changed first.

    Raises:
        RecordError: if a plan cannot be read, since any run may then belong to its sweep.
    """
    needs = _read_needs(home.path)
    plans = [(archive, archive.read_plan_and_study()[0]) for archive in iter_archives(home.path)]
    digests = [_with_needs(plan.digests, needs) & needs.keys() for _, plan in plans]
    users: dict[str, int] = {}
    for sweep_digests in digests:
        for digest in sweep_digests:
            users[digest] = users.get(digest, 0) + 1
    alone = needs.keys() - users.keys()
    kept = _with_needs(alone | _standalone_digests(home), needs)
    return [
        SweepUse(
            archive,
            plan,
            frozenset(sweep_digests),
            frozenset(d for d in sweep_digests if users[d] == 1 and d not in kept),
        )
        for (archive, plan), sweep_digests in zip(plans, digests, strict=True)
    ]


def _read_needs(home_dir: Path) -> dict[str, set[str]]:
    """Return the digests of the runs that each run in a home folder needs directly, by digest."""
    needs = {}
    for path in (home_dir / "runs").glob("*/spec.json"):
        digest = path.parent.name
        spec = Record(home_dir, digest).read_spec()
        needs[digest] = set(map(str, spec.needs.values())) if spec else set()
    return needs


def _with_needs(digests: Iterable[str], needs: Mapping[str, set[str]]) -> set[str]:
    """Return digests of runs together with those of all runs that these need."""
    reached: set[str] = set()
    open_digests = list(digests)
    while open_digests:
        digest = open_digests.pop()
        if digest not in reached:
            reached.add(digest)
            open_digests += needs.get(digest, ())
    return reached


def _standalone_digests(home: Home) -> set[str]:
    """Return the digests of the runs that the command `train` wrote to the home's MLflow store."""
    path = home_database(home.path)
    if not path.exists() or path.stat().st_size == 0:
        return set()
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT digest.value FROM tags AS digest JOIN tags AS phase USING (run_uuid)"
            " WHERE digest.key = 'nal.digest' AND phase.key = 'nal.phase' AND phase.value = 'train'"
        )
        return {digest for (digest,) in rows}


def folder_bytes(folder: Path) -> int:
    """Return the space that the files in a folder occupy on the disk, in bytes."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if not path.is_symlink() and path.is_file():
                total += 512 * path.stat().st_blocks
    return total


def run_bytes(home: Home, digests: Iterable[str]) -> int:
    """Return the space that the folders of runs occupy on the disk, in bytes."""
    return sum(folder_bytes(Record(home.path, digest).folder) for digest in digests)


def remove_sweep(home: Home, digest: str) -> int:
    """Remove a sweep and all that only it uses from a home folder.

    Args:
        home: home folder.
        digest: digest of the sweep.

    Returns:
        The space that became free, in bytes.

    Raises:
        StudyLockedError: if a process is carrying out a sweep in the home folder.
        HomeError: if the home folder cannot be written.
        RecordError: if a plan cannot be read.
    """
    with ExitStack() as locks:
        # A sweep in progress may be about to use any run.
        for study in sorted(path.stem for path in (home.path / "sweeps").glob("*.lock")):
            locks.enter_context(home.study_lock(study))
        (use,) = (use for use in read_sweep_uses(home) if use.plan.sweep == digest)
        old_bytes = folder_bytes(home.path)
        write_atomically(use.archive.folder / RUN_LIST, json.dumps(sorted(use.own_digests)))
        try:
            (home.path / TRASH_FOLDER).mkdir(exist_ok=True)
            use.archive.folder.rename(home.path / TRASH_FOLDER / digest)
        except OSError as error:
            raise HomeError(f"cannot move {use.archive.folder}: {error.strerror}") from error
        finish_removals(home)
        return max(0, old_bytes - folder_bytes(home.path))


def finish_removals(home: Home) -> None:
    """Delete what removed sweeps have left in a home folder.

    Raises:
        HomeError: if a file cannot be deleted.
    """
    trash = home.path / TRASH_FOLDER
    if not trash.is_dir():
        return
    try:
        with file_lock(home.path / f"{TRASH_FOLDER}.lock"):
            for folder in sorted(trash.glob("*")):
                _finish_removal(home, folder)
            trash.rmdir()
    except OSError as error:
        raise HomeError(f"cannot delete {trash}: {error.strerror}") from error


def _finish_removal(home: Home, folder: Path) -> None:
    """Delete what a removed sweep has left, and at last its folder in the trash."""
    digests = set(json.loads((folder / RUN_LIST).read_text()))
    present_plans = [plan for a in iter_archives(home.path) if (plan := a.read_plan())]
    if any(plan.sweep == folder.name for plan in present_plans):
        digests = set()  # the sweep was started anew, and uses its runs again
    else:
        _remove_from_mlflow(home, folder.name)
    digests -= set().union(*(plan.digests for plan in present_plans))
    _remove_searches(home, digests)
    for digest in digests:
        shutil.rmtree(Record(home.path, digest).folder, ignore_errors=True)
    shutil.rmtree(folder)


def _remove_from_mlflow(home: Home, sweep_digest: str) -> None:
    """Delete the MLflow runs of a sweep and their artifacts from the home's store."""
    path = home_database(home.path)
    if not path.exists() or path.stat().st_size == 0:
        return
    query = (
        "SELECT run_uuid, lifecycle_stage, artifact_uri FROM runs JOIN tags USING (run_uuid)"
        " WHERE key = 'nal.sweep' AND value = ?"
    )
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(query, (sweep_digest,)).fetchall()
    for _, _, address in rows:
        folder = local_artifact_folder(address)
        if folder is None or not folder.is_relative_to(home.artifact_dir):
            # In a copied home these may still be the files of the other home.
            raise HomeError(
                f"MLflow store {path}: the files of sweep {sweep_digest[:12]} lie in {address}, "
                "outside this home folder: run `python -m orchestrator sweeps list`, which "
                "corrects the addresses of a copied home"
            )
    client, run_ids = open_store(home_store_uri(home.path)), [run_id for run_id, _, _ in rows]
    for run_id, stage, _ in rows:
        if stage == "active":
            client.delete_run(run_id)
    for start in range(0, len(run_ids), MAX_RUNS_PER_COMMAND):
        chosen_ids = ",".join(run_ids[start : start + MAX_RUNS_PER_COMMAND])
        uri = home_store_uri(home.path)
        addresses = ["--backend-store-uri", uri, "--tracking-uri", uri]
        command = [sys.executable, "-m", "mlflow", "gc", *addresses]
        process = subprocess.run(  # noqa: S603 - no shell, and no text of a user's
            [*command, "--run-ids", chosen_ids], capture_output=True, text=True, check=False
        )
        if process.returncode:
            problem = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise HomeError(f"MLflow store {path}: `mlflow gc` failed: {problem}")
    with closing(sqlite3.connect(path)) as database, suppress(sqlite3.OperationalError):
        database.execute("VACUUM")  # an open page of MLflow may prevent it


def _remove_searches(home: Home, digests: set[str]) -> None:
    """Delete the searches all of whose trials are runs that are removed."""
    if not home.search_database.exists():
        return
    import optuna

    from orchestrator.sweeping.search import open_search_storage

    storage = open_search_storage(home.search_database)
    for summary in optuna.get_all_study_summaries(storage):
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        trial_digests = {trial.user_attrs.get("digest") for trial in study.get_trials()} - {None}
        if trial_digests and trial_digests <= digests:
            optuna.delete_study(study_name=summary.study_name, storage=storage)
    storage.engine.dispose()


def select_use(uses: Iterable[SweepUse], prefix: str) -> SweepUse:
    """Return the sweep whose digest begins with a text.

    Raises:
        HomeError: if no sweep or more than one matches.
    """
    uses = list(uses)
    matches = [use for use in uses if use.plan.sweep.startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    problem = f"{len(matches)} sweeps begin with '{prefix}'" if matches else f"no sweep '{prefix}'"
    known = ", ".join(f"{use.plan.study} {use.plan.sweep[:12]}" for use in matches or uses)
    raise HomeError(f"{problem}: choose one of these digests: {known or 'none is recorded'}")
