"""Checks of a home folder, which only read it: space, datasets, sweeps, searches and MLflow."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.checkup.check import Check
from orchestrator.home import DISK_RESERVE_BYTES
from orchestrator.planning.cost import format_size
from orchestrator.sweeping.search import DIGESTS_ATTRIBUTE
from orchestrator.sweeping.search_storage import read_trials
from orchestrator.tracking.agreement import find_lacking
from orchestrator.tracking.archive import iter_archives
from orchestrator.watching.sweep_status import DAMAGED, StatusReader
from reports.store import check_store, mask_password
from reports.words import format_count
from trainables.databases import database_path
from trainables.datasets import SOURCES
from trainables.errors import DataError, NalError, RecordError
from trainables.locks import is_locked
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.flags import Locations
    from orchestrator.home import Home
    from orchestrator.watching.sweep_status import SweepStatus


def check_disk(home: Home) -> Check:
    """Check that the disk of the home folder has space, and that the folder can be written."""
    folder = next(path for path in (home.path, *home.path.parents) if path.exists())
    free_bytes = shutil.disk_usage(folder).free
    text = f"{format_size(free_bytes)} free under {home.path}"
    if free_bytes < DISK_RESERVE_BYTES:
        return Check(
            "disk", "problem", text, "free some space, or choose another folder with --home"
        )
    if not os.access(folder, os.W_OK):
        return Check("disk", "problem", f"{folder} cannot be written", "choose another --home")
    try:
        is_locked(home.path / "lock")
    except OSError as error:
        return Check(
            "disk",
            "problem",
            f"the file system of {home.path} has no locks ({error.strerror})",
            "choose a --home on another file system",
        )
    if not home.exists:
        advice = "check --home, unless no sweep was started yet: the first one makes the folder"
        return Check("disk", "warning", f"{text}, which is no home folder yet", advice)
    return Check("disk", "ok", text)


def check_datasets(data_dir: Path, home: Home) -> Iterator[Check]:
    """Name the datasets that are present, and those that a sweep of the home folder lacks.

    Args:
        data_dir: folder of the datasets.
        home: home folder, whose plans name the datasets of sweeps and their digests.
    """
    plans = [plan for archive in iter_archives(home.path) if (plan := archive.read_plan())]
    digests = {plan.dataset.name: plan.dataset.digest for plan in plans}
    present, missing = [], []
    for name, source in SOURCES.items():
        try:
            source.signature(data_dir)
        except DataError as error:
            missing.append(name)
            if name in digests:
                yield Check(
                    f"data {name}",
                    "warning",
                    f"sweeps of this home need it: {error}",
                    f"`python -m orchestrator data prepare {name}`, with --data-dir if it is "
                    "elsewhere",
                )
        else:
            known = f" (sweeps know {digests[name][:12]})" if name in digests else ""
            present.append(f"{name}{known}")
    yield Check("data", "ok", f"present: {', '.join(present)}; missing: {', '.join(missing)}")


def check_sweeps(locations: Locations) -> Iterator[Check]:
    """Check each sweep of a home folder: its plan, its records, and whether it is carried out."""
    home = locations.home
    reader = StatusReader(home)
    for archive in iter_archives(home.path):
        name = f"sweep {archive.folder.name[:12]}"
        try:
            status = reader.read(archive)
        except NalError as error:
            yield Check(name, "problem", str(error), "see the text")
            continue
        yield _check_sweep(name, status)


def _check_sweep(name: str, status: SweepStatus) -> Check:
    counts: Counter[str] = Counter()
    for phase in status.phases:
        counts.update(phase.counts)
    text = f"{status.study}: {status.state}, " + ", ".join(
        f"{count} {state}" for state, count in counts.most_common()
    )
    status_command = f"`python -m orchestrator status {status.sweep[:12]}`"
    if counts[DAMAGED]:
        return Check(
            name,
            "problem",
            text,
            f"move the folders of the damaged runs away, which other lines name; then "
            f"`{status.command}` trains them again",
        )
    if status.silent_seconds is not None:
        return Check(
            name,
            "warning",
            f"{text}; no sign of its process for {status.silent_seconds:.0f} s",
            f"{status_command} names the process: end it and type `{status.command}`",
        )
    if status.state == "interrupted":
        return Check(name, "warning", text, f"`{status.command}` goes on")
    if status.failures:
        return Check(
            name,
            "warning",
            f"{text}; {format_count(len(status.failures), 'run')} could not be carried out",
            f"{status_command} names the logs; `{status.command}` tries again",
        )
    return Check(name, "ok", text)


def check_damaged_records(home: Home) -> Iterator[Check]:
    """Name the runs whose result cannot be read."""
    for path in sorted(home.path.glob("runs/*/result.json")):
        try:
            Record(home.path, path.parent.name).read_result()
        except RecordError as error:
            yield Check("record", "problem", str(error), "see the text; then type its sweep again")


def check_searches(locations: Locations) -> Iterator[Check]:
    """Compare the trials in the database of searches with the recorded runs."""
    home, name = locations.home, "searches"
    try:
        trials = read_trials(locations.search_url)
    except NalError as error:
        yield Check(name, "problem", str(error))
        return
    if trials is None:
        if any(home.path.glob("sweeps/*/plan.json")):
            yield Check(
                name,
                "warning",
                f"{database_path(locations.search_url) or 'the database'} has no searches",
                "name their database with --search-storage, or type the commands of the sweeps "
                "again: the searches propose the same values again, and recorded runs are not "
                "trained again",
            )
        return
    states = Counter(trial.state.name.lower() for trial in trials)
    text = ", ".join(f"{count} {state}" for state, count in states.most_common())
    unrecorded = [
        trial
        for trial in trials
        if trial.state.name == "COMPLETE"
        if not all(
            (Record(home.path, digest).folder / "result.json").exists()
            for digest in trial.user_attrs.get(DIGESTS_ATTRIBUTE, ())
        )
    ]
    if unrecorded:
        yield Check(
            name,
            "warning",
            f"trials: {text}; the runs of {len(unrecorded)} complete trials have no record",
            "type the command of their sweep again, which trains them again",
        )
    else:
        yield Check(name, "ok", f"trials: {text or 'none'}; every complete one has a record")


def check_tracking(locations: Locations) -> Check:
    """Check that the MLflow store can be used, and that it has what the home folder records."""
    uri, home = locations.store_uri, locations.home
    name, sync = "MLflow", "`python -m orchestrator sync` writes them"
    try:
        if not locations.uses_home_store:
            check_store(uri)
            return Check(name, "ok", f"{mask_password(uri)} answers; its runs were not compared")
        lacking = find_lacking(home)
    except NalError as error:
        return Check(name, "problem", str(error))
    if lacking is None:
        has_runs = any(home.path.glob("runs/*/result.json"))
        return Check(
            name,
            "warning" if has_runs else "ok",
            f"no store in {home.path} yet",
            sync.replace("them", "it") if has_runs else "",
        )
    if lacking.sweeps or lacking.run_count:
        sweeps = ", ".join(lacking.sweeps) or "none"
        return Check(
            name,
            "warning",
            f"the store lacks {format_count(lacking.run_count, 'recorded run')}; sweeps that are "
            f"not there as they are recorded: {sweeps}",
            sync,
        )
    if lacking.unrecorded_count:
        return Check(
            name,
            "warning",
            f"{format_count(lacking.unrecorded_count, 'run')} in the store without a record here",
            "their folders were moved or deleted: move them back, or type the command of their "
            "sweep, which trains them again",
        )
    return Check(name, "ok", f"{mask_password(uri)} has every recorded run")
