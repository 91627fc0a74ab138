"""The `doctor` command, which checks the machine, the services, and what is recorded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Column
from rich.text import Text

from orchestrator.checkup.check import Check
from orchestrator.checkup.machine import check_determinism, check_devices, check_versions
from orchestrator.checkup.records import (
    check_damaged_records,
    check_datasets,
    check_disk,
    check_searches,
    check_sweeps,
    check_tracking,
)
from orchestrator.engine.base import engine_of
from orchestrator.output import CommandConsole, headed_table, print_json
from reports.words import printable
from search_spaces.schema import Resources
from trainables.errors import NalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.flags import Locations

STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}
"""Style of each level."""


def run(locations: Locations, *, as_json: bool) -> int:
    """Check the machine, the data, the services and the home folder, which is only read.

    Args:
        locations: locations of the data, the home folder, the MLflow store and a Ray cluster.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code: 0, or 1 if there is a problem.

    Raises:
        UserError: if the flags contradict each other.
    """
    console = CommandConsole(stderr=as_json)
    progress_console = CommandConsole(stderr=True)
    with progress_console.status("") as status:
        checks: list[Check] = []
        for text, find_checks in _steps(locations):
            status.update(text)
            if not progress_console.is_terminal:
                progress_console.print(text, soft_wrap=True)
            checks += find_checks()
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        table = headed_table("check", "", Column("seen, and what to do next", overflow="fold"))
        for check in checks:
            advice = f": {check.advice}" if check.advice else ""
            text = printable(f"{check.text}{advice}")
            table.add_row(Text(check.name), Text(check.level, STYLES[check.level]), Text(text))
        console.print(table)
    return 1 if any(check.level == "problem" for check in checks) else 0


def _steps(locations: Locations) -> Iterator[tuple[str, Callable[[], Iterable[Check]]]]:
    """Yield what is checked, in words, with a function that checks it."""
    home, data_dir = locations.home, locations.dataset_dir
    yield "reading the versions of libraries", lambda: [check_versions()]
    yield "looking for devices", lambda: [check_devices()]
    yield (
        "training a small run in two processes, one after the other, to compare their results "
        "(up to a minute for each device)",
        lambda: check_determinism(data_dir),
    )
    yield "looking at the disk", lambda: [check_disk(home)]
    yield "looking for datasets", lambda: check_datasets(data_dir, home)
    if locations.ray_address is not None:
        yield "asking the Ray cluster", lambda: [_check_cluster(locations)]
    yield "comparing the MLflow store with the records", lambda: [check_tracking(locations)]
    yield "comparing the searches with the records", lambda: check_searches(locations)
    yield "reading the sweeps", lambda: check_sweeps(locations)
    yield "reading the result of every run", lambda: check_damaged_records(home)


def _check_cluster(locations: Locations) -> Check:
    """Check that the Ray cluster responds.

    Raises:
        UserError: if the flags contradict each other.
    """
    engine = engine_of(locations)
    try:
        engine.check(Resources())
    except NalError as error:
        return Check("Ray cluster", "problem", str(error))
    return Check("Ray cluster", "ok", f"{locations.ray_address} responds")
