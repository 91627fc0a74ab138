"""The `sync` command, which rebuilds MLflow's records from the runs in the home folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.output import CommandConsole
from orchestrator.tracking.home_store import repair_home_store
from orchestrator.tracking.restoring import restore_store
from reports.store import mask_password
from reports.words import format_count
from trainables.errors import HomeError

if TYPE_CHECKING:
    from orchestrator.flags import Locations


def run(locations: Locations) -> int:
    """Write the sweeps and runs of the home folder to MLflow, except those that MLflow has already.

    Args:
        locations: locations of the home folder and the MLflow store.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the home folder contains no runs, or the MLflow store cannot be written.
    """
    home, uri = locations.home, locations.store_uri
    if not (home.path / "runs").is_dir():
        raise HomeError(f"no runs are recorded in {home.path}: choose another folder with --home")
    if locations.uses_home_store:
        repair_home_store(home, reads_all_pages=True)
    restored = restore_store(home, uri)
    console = CommandConsole()
    for study in sorted(restored.locked_studies):
        console.print(f"left out '{study}', since a process is carrying out a sweep of it")
    sweep_runs = format_count(len(restored.run_digests), "run of sweeps", "runs of sweeps")
    other_runs = format_count(restored.standalone_count, "other run")
    console.print(f"{mask_password(uri)} contains {sweep_runs} and {other_runs}.")
    return 0
