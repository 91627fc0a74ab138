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
    from collections.abc import Iterator

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
    with console.status("training a small run twice, and reading the records"):
        checks = list(_iter_checks(locations))
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


def _iter_checks(locations: Locations) -> Iterator[Check]:
    """Yield the results of all checks.

    Raises:
        UserError: if the flags contradict each other.
    """
    home = locations.home
    yield check_versions()
    yield check_devices()
    yield from check_determinism(locations.dataset_dir)
    yield check_disk(home)
    yield from check_datasets(locations.dataset_dir, home)
    if locations.ray_address is not None:
        yield _check_cluster(locations)
    yield check_tracking(locations)
    yield from check_searches(locations)
    yield from check_sweeps(locations)
    yield from check_damaged_records(home)


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
