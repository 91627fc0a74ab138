"""Removal of a sweep, with the runs that only it uses, from a home folder and an MLflow store.

Nothing is deleted. Everything moves to a folder of its own below `trash/`, which has the layout of
a home folder, so that moving its content back undoes the removal; the user deletes it. In MLflow,
the runs of the sweep are marked as deleted.

The plan moves last. Whatever interrupts a removal therefore leaves a sweep some of whose runs are
missing, and the same command goes on: `sweeps remove` to remove it, `sweep` to train them again.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.tracking.sweep_uses import read_sweep_uses
from reports.store import open_store, translate_store_errors
from reports.stored_runs import open_reader
from trainables.errors import HomeError
from trainables.run.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.home import Home
    from orchestrator.tracking.sweep_uses import SweepUse

GC_ADVICE = "`mlflow gc` deletes all runs there that are marked as deleted, also those of others"
"""Advice on how to free the space of MLflow runs that are marked as deleted."""


def move_to_trash(home: Home, shown_use: SweepUse) -> Path:
    """Move a sweep and the runs that only it uses to the trash of a home folder.

    The home folder must be locked by `Home.not_in_use`.

    Args:
        home: home folder.
        shown_use: sweep and its runs as the user has confirmed them.

    Returns:
        The folder to which they were moved.

    Raises:
        HomeError: if the sweep or its runs have changed, a process is training one of the runs, or
            a folder cannot be moved.
        RecordError: if a plan or a spec cannot be read.
    """
    use = find_unchanged(home, shown_use)
    sweep_digest = use.archive.folder.name
    now = datetime.now().astimezone()
    target = home.trash_dir / f"{now:%Y-%m-%d-%H%M%S}-{sweep_digest[:12]}"
    for digest in sorted(use.own_digests):
        with Record(home.path, digest).claimed(patience_seconds=0):
            _move(Record(home.path, digest).folder, target / "runs" / digest)
    _move(use.archive.folder, target / "sweeps" / sweep_digest)
    return target


def find_unchanged(home: Home, shown_use: SweepUse) -> SweepUse:
    """Return a sweep and its runs as they are now.

    Raises:
        HomeError: if they are not those that the user has confirmed, a run is being trained, or
            a part of the home folder is on another disk.
        RecordError: if a plan or a spec cannot be read.
    """
    uses = read_sweep_uses(home, skips_damaged=False)
    use = next((use for use in uses if use.archive == shown_use.archive), None)
    if use is None or use.own_digests != shown_use.own_digests:
        raise HomeError(
            f"sweep {shown_use.archive.folder.name[:12]} or what uses its runs has changed "
            "meanwhile: nothing was removed; type the command again to see what it removes now"
        )
    for folder in (home.path / "runs", use.archive.folder, home.trash_dir):
        if folder.exists() and folder.stat().st_dev != home.path.stat().st_dev:
            raise HomeError(
                f"{folder} is not on the disk of {home.path}, so that nothing can be moved to the "
                "trash: nothing was removed; delete the folders that --dry-run counts yourself"
            )
    for digest in use.own_digests:  # a worker may outlive the process of its sweep
        with Record(home.path, digest).claimed(patience_seconds=0):
            pass
    return use


def _move(folder: Path, target: Path) -> None:
    """Rename a folder; the target is on the same file system.

    Raises:
        HomeError: if the folder cannot be moved.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
    except OSError as error:
        raise HomeError(f"cannot move {folder} to {target}: {error.strerror}") from error


def mark_as_deleted(uri: str, use: SweepUse) -> int:
    """Mark the runs of a sweep as deleted in an MLflow store: the sweep, its cells and its runs.

    They are those whose tag `nal.sweep` is the digest of the sweep. Runs that other sweeps share
    have copies below those sweeps, which stay.

    Args:
        uri: URI of the MLflow store.
        use: sweep.

    Returns:
        The number of MLflow runs that were marked.

    Raises:
        ServiceError: if the MLflow server cannot be used.
        HomeError: if the database cannot be used.
    """
    client = open_store(uri)
    with translate_store_errors(uri):
        experiment = client.get_experiment_by_name(use.plan.study)
        if experiment is None or experiment.lifecycle_stage == "deleted":
            return 0
        with open_reader(uri) as store:
            tags = {"nal.sweep": use.archive.folder.name}
            runs = list(store.read_runs(tags, experiment.experiment_id))
        for run in runs:
            client.delete_run(run.info.run_id)
        return len(runs)
