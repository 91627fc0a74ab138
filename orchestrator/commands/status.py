"""The `status` command, which prints how sweeps stand, beside a running one or after a dead one."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live

from orchestrator.output import CommandConsole, print_json
from orchestrator.watching.status_view import status_view, sweeps_view
from orchestrator.watching.sweep_status import StatusReader
from trainables.errors import RecordError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.flags import Locations
    from orchestrator.watching.sweep_status import SweepStatus

WATCH_SECONDS = 2.0
"""Time between two refreshes on a terminal, in seconds."""
PIPED_WATCH_SECONDS = 10.0
"""Time between two outputs to a pipe or file, or of JSON, in seconds."""


def run(locations: Locations, sweep: str | None, *, watch: bool, as_json: bool) -> int:
    """Print the status of one sweep or all sweeps in the home folder.

    Args:
        locations: location of the home folder.
        sweep: name of a study, path of its file, or beginning of a sweep's digest; None for all
            sweeps: a line each, and the latest in full.
        watch: whether to print it again and again, until no process carries out one of the sweeps.
        as_json: whether to print JSON on standard output: one line each time.

    Returns:
        The exit code, 0.

    Raises:
        HomeError: if no sweep is recorded, or the folder cannot be read.
        UserError: if no sweep has the name.
        RecordError: if the plan of the sweep cannot be read.
    """
    reader = StatusReader(locations.home)
    console = CommandConsole(stderr=as_json)
    if not watch:
        _print(_read(reader, sweep), console, as_json=as_json)
        return 0
    try:
        if as_json or not console.is_terminal:
            while _print(_read(reader, sweep), console, as_json=as_json):
                time.sleep(PIPED_WATCH_SECONDS)
            return 0
        statuses = _read(reader, sweep)
        with Live(_view(statuses), console=console, auto_refresh=False) as live:
            while _any_running(statuses):
                time.sleep(WATCH_SECONDS)
                statuses = _read(reader, sweep)
                live.update(_view(statuses), refresh=True)
    except KeyboardInterrupt:  # the usual way to end watching
        pass
    return 0


def _read(reader: StatusReader, sweep: str | None) -> list[SweepStatus]:
    """Return the status of the sweeps, least recently changed first.

    Raises:
        RecordError: if the plan of the only sweep, or of every sweep, cannot be read.
    """
    statuses, errors = [], []
    for archive in reader.archives(sweep):
        try:
            statuses.append(reader.read(archive))
        except RecordError as error:
            errors.append(error)
    if not statuses:
        raise errors[0]
    for unreadable in errors:
        CommandConsole(stderr=True).print(f"left out: {unreadable}", soft_wrap=True)
    return statuses


def _print(statuses: list[SweepStatus], console: CommandConsole, *, as_json: bool) -> bool:
    """Print the status of sweeps, and return whether a process carries out one of them."""
    if as_json:
        print_json([_values(status) for status in statuses])
    else:
        console.print(_view(statuses))
    return _any_running(statuses)


def _any_running(statuses: list[SweepStatus]) -> bool:
    return any(status.state == "running" for status in statuses)


def _view(statuses: list[SweepStatus]) -> RenderableType:
    """Return all sweeps, a line each if there are several, and the latest in full."""
    latest = status_view(statuses[-1])
    return Group(sweeps_view(statuses[::-1]), "", latest) if len(statuses) > 1 else latest


def _values(status: SweepStatus) -> dict[str, Any]:
    """Return the status of a sweep as values that can be written as JSON."""
    failures = [{**asdict(each.failure), "log": each.log} for each in status.failures]
    return asdict(status) | {"failures": failures, "ended": status.ended, "total": status.total}
