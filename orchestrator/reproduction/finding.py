"""Recorded runs by what users call them: a digest, MLflow's ID, or the cell of a table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import iter_archives
from orchestrator.watching.sweep_status import StatusReader
from reports.store import mask_password
from reports.stored_runs import DIGEST_TAG, open_reader
from trainables.errors import UserError, suggest
from trainables.extensions import without_hash
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.flags import Locations
    from orchestrator.home import Home
    from reports.plan_record import CellRecord

CELL_SEPARATOR = "/"
"""Separator in the name of a cell: STUDY/SCENARIO/METHOD, or STUDY/SCENARIO/METHOD/ORIGIN.

The origin is that of the values of the cell: tuned, reference, fixed or varied."""
MLFLOW_ID = re.compile(r"[0-9a-f]{32}")
"""Form of MLflow's IDs of runs, which may also be the beginning of a digest."""


def find_runs(name: str, locations: Locations) -> list[str]:
    """Return the digests of the recorded runs that a name on the command line stands for.

    Args:
        name: beginning of a digest; MLflow's ID of a run; or STUDY/SCENARIO/METHOD for all seeds of
            a cell in the latest sweep of a study, whose digest may be written in its place.
        locations: locations of the home folder and the MLflow store.

    Raises:
        UserError: if nothing that is recorded has the name, or runs of a cell have not ended.
        RecordError: if the plan of the sweep is damaged.
        HomeError: if no sweep is recorded, or the SQLite file of MLflow cannot be used.
        ServiceError: if the MLflow server does not answer.
    """
    if not name:
        raise UserError(
            "RUN is empty: write the beginning of a digest, MLflow's ID of a run, or a cell, "
            "STUDY/SCENARIO/METHOD"
        )
    if CELL_SEPARATOR in name:
        return _find_cell(name, locations.home)
    has_record = any((locations.home_dir / "runs").glob(f"{name}*")) if name.isalnum() else False
    if not has_record and MLFLOW_ID.fullmatch(name):
        return [_find_by_mlflow_id(name, locations)]
    return [locations.home.full_digest(name)]


def _find_by_mlflow_id(run_id: str, locations: Locations) -> str:
    """Return the digest of the run with an ID of MLflow's, which must be recorded in the home."""
    uri = locations.store_uri
    with open_reader(uri) as store:
        tags = store.read_run_tags(run_id)
    shown_uri = mask_password(uri)
    if tags is None:
        raise UserError(
            f"no run in {locations.home_dir / 'runs'} has a digest that begins with '{run_id}', "
            f"and none in {shown_uri} has this ID: copy one from `python -m orchestrator ui`"
        )
    if DIGEST_TAG not in tags:
        raise UserError(
            f"the run {run_id} in {shown_uri} is no training run, but a {_kind(tags)}: choose a "
            "run below it, or write STUDY/SCENARIO/METHOD for all seeds of a cell"
        )
    digest = tags[DIGEST_TAG]
    if not Record(locations.home_dir, digest).folder.is_dir():
        raise UserError(
            f"run {run_id} in {shown_uri} has no record in the home folder {locations.home_dir}: "
            "name the home folder that trained it with --home"
        )
    return digest


def _kind(tags: Mapping[str, str]) -> str:
    """Return what a run in MLflow that is no training run is."""
    return tags.get("nal.kind", "run of another program")


def _find_cell(name: str, home: Home) -> list[str]:
    """Return the digests of the runs of a cell, in the order of their seeds.

    Without the origin of its values, a name may stand for several cells, whose runs are all
    returned.
    """
    sweep, *parts = name.split(CELL_SEPARATOR)
    if not 2 <= len(parts) <= 3 or not all((sweep, *parts)):
        raise UserError(
            f"'{name}': a cell is STUDY/SCENARIO/METHOD, such as digits/symmetric-0.4/nal, or "
            "STUDY/SCENARIO/METHOD/tuned where a table has several"
        )
    if not any(iter_archives(home.path)):
        raise UserError(
            f"'{name}': no sweep is recorded in the home folder {home.path}: name another with "
            "--home, or a single run by its digest"
        )
    (archive,) = StatusReader(home).archives(sweep)
    plan, _study = archive.read_plan_and_study()
    cells = [cell for cell in plan.cells if parts in _names(cell)]
    if not cells:
        known_names = [CELL_SEPARATOR.join((sweep, *each[-1])) for each in map(_names, plan.cells)]
        raise UserError(
            f"the sweep {plan.sweep[:12]} of '{plan.study}' has no cell '{name}': "
            + (suggest(name, known_names) if known_names else "it has none yet")
        )
    missing_seeds = [
        str(seed)
        for cell in cells
        for seed, digest in zip(cell.seeds, cell.digests, strict=True)
        if Record(home.path, digest).result_time_ns() is None
    ]
    if missing_seeds:
        raise UserError(
            f"'{name}': the runs with seed {', '.join(dict.fromkeys(missing_seeds))} have not "
            "ended: type the command of the sweep again to carry them out"
        )
    return list(dict.fromkeys(digest for cell in cells for digest in cell.digests))


def _names(cell: CellRecord) -> list[list[str]]:
    """Return the names of a cell in its sweep, as their parts; the last is the most specific."""
    name = [without_hash(cell.scenario), without_hash(cell.method)]
    origins = cell.origin.replace("equals ", "").split(", ")
    return [name, *([*name, origin] for origin in origins)]
