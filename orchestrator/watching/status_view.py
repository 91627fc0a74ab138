"""Status of sweeps as text for the terminal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column
from rich.text import Text

from orchestrator.output import facts_table, headed_table
from orchestrator.planning.cost import format_duration
from orchestrator.watching.sweep_status import DAMAGED, FAILED, RUNNING, WAITING
from reports.store import MASK
from reports.words import format_count, format_values, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from orchestrator.watching.progress_record import RunProgress, Start
    from orchestrator.watching.sweep_status import PhaseStatus, SweepStatus

MAX_SHOWN_RUNS = 16
"""Largest number of running runs that are shown; a cluster may train hundreds at a time."""

MAX_SHOWN_FAILURES = 10
"""Largest number of runs that could not be carried out that are shown."""

STATE_ORDER = (
    *("finished", "diverged", "stopped", "out of memory"),
    *(DAMAGED, FAILED, RUNNING, WAITING),
)
"""States of runs in the order of their columns."""

STATE_STYLES = {"finished": "green", "running": "cyan", "interrupted": "yellow"}
"""Style of each state of a sweep."""


def status_view(status: SweepStatus) -> RenderableType:
    """Return the whole status of a sweep."""
    parts: list[RenderableType] = [
        Text(f"{status.study}: {status.title}", style="bold"),
        facts_table(_facts(status)),
        Padding(_phases_table(status.phases), (1, 0, 0, 0)),
    ]
    if status.running:
        parts.append(Padding(_runs_table(status.running), (1, 0, 0, 0)))
    if status.failures:
        parts.append(Text("\nruns that could not be carried out:", style="red"))
        parts += [Text(f"  {each.line}") for each in status.failures[:MAX_SHOWN_FAILURES]]
        hidden_count = len(status.failures) - MAX_SHOWN_FAILURES
        if hidden_count > 0:
            parts.append(Text(f"  and {hidden_count} more (--json lists all)", style="dim"))
    if status.state == "interrupted" or status.unwritten is not None:
        hint = "" if status.has_recorded_flags else ", with the flags of its first start"
        if MASK in status.command:
            hint += f", with the password in place of {MASK}"
        command = printable(status.command)
        purpose = "to go on" if status.state == "interrupted" else "to write them"
        # On one line, so that it can be copied from a terminal.
        parts.append(Text(f"\n{purpose}{hint}:\n  {command}", no_wrap=True, overflow="ignore"))
    return Group(*parts)


def sweeps_view(statuses: Sequence[SweepStatus]) -> RenderableType:
    """Return a table with one line for each of several sweeps."""
    table = headed_table(
        "study", "sweep", "state", Column("ended", justify="right"), "left", "failed", "changed"
    )
    for status in statuses:
        left = status.seconds_left if status.state == "running" else None
        table.add_row(
            Text(status.study),
            Text(status.sweep[:12]),
            Text(status.state, style=STATE_STYLES[status.state]),
            Text(f"{status.ended} of {status.total}"),
            Text("" if left is None else format_duration(left)),
            Text(str(len(status.failures) or "")),
            Text(_local_time(status.changed_at)),
        )
    return table


def _facts(status: SweepStatus) -> list[tuple[str, str]]:
    """Return the headings and texts above the tables."""
    facts = [("sweep", status.sweep), ("state", _state_text(status))]
    if status.best is not None:
        best = status.best
        facts.append(
            (
                "best trial",
                f"{100 * best.accuracy:.1f} % on held-out noisy labels at "
                f"{format_values(best.values)} ({best.method} on {best.scenario}, run "
                f"{best.digest[:12]})",
            )
        )
    if devices_text := _devices_text(status):
        facts.append(("devices", devices_text))
    if unwritten_text := _unwritten_text(status):
        facts.append(("MLflow", unwritten_text))
    if time_text := _time_text(status):
        facts.append(("time left", time_text))
    if status.starts:
        facts.append(("time taken", _starts_text(status.starts)))
    facts += [("notice", notice) for notice in status.notices]
    return [(name, printable(text)) for name, text in facts]


def _state_text(status: SweepStatus) -> str:
    """Describe the state of a sweep, and the process that carries it out."""
    if status.state == "finished":
        return "finished"
    if status.is_budget_spent:
        return "interrupted: its time budget is spent; the command below goes on with a larger one"
    if status.state == "interrupted":
        return "interrupted: no process carries it out; type the command below to go on"
    if not status.starts or status.starts[-1].state != "running":
        return "running: its process prepares the runs, or writes the tables"
    start = status.starts[-1]
    text = f"running: process {start.pid} on {start.host}, since {_local_time(start.started_at)}"
    if status.silent_seconds is not None:
        text += f"; no sign of it for {format_duration(status.silent_seconds)}"
    return text


def _unwritten_text(status: SweepStatus) -> str:
    """Describe what an MLflow store lacks of a sweep; "" if nothing is known to lack."""
    part = status.unwritten
    if part is None or (status.state == "interrupted" and not part.run_count):
        return ""
    match part.run_count:
        case None:
            lack = "may lack runs and the tables of this sweep"
        case 0:
            lack = "lacks the tables of this sweep"
        case count:
            lack = f"lacks up to {format_count(count, 'run')} of this sweep"
    store = f"the store {part.store}" if part.store else "the store of the home folder"
    flag = f" --tracking-uri {part.store}" if part.store else ""
    return f"{store} {lack}: `python -m orchestrator sync{flag}` or the command below writes them"


def _devices_text(status: SweepStatus) -> str:
    """Describe how many runs are trained at a time, and where the ended ones were trained."""
    parts = []
    if status.max_concurrent_runs is not None:
        parts.append(f"{format_count(status.max_concurrent_runs, 'run')} at a time")
    if status.devices:
        devices = " and ".join(
            f"{format_count(count, 'run')} on {device}" for device, count in status.devices.items()
        )
        hosts = ", ".join(
            host if len(status.hosts) == 1 else f"{host} ({format_count(count, 'run')})"
            for host, count in status.hosts.items()
        )
        machines = "machine" if len(status.hosts) == 1 else "machines"
        parts.append(f"trained so far: {devices}, {machines} {hosts}")
    return "; ".join(parts)


def _time_text(status: SweepStatus) -> str:
    """Describe the time left with its range; "" if it is not known or the sweep has finished."""
    if status.seconds_left is None or status.seconds_left_range is None:
        return ""
    low, high = map(format_duration, status.seconds_left_range)
    text = f"about {format_duration(status.seconds_left)} ({low} to {high})"
    return text if status.state == "running" else f"{text}, as of its last sign"


def _starts_text(starts: Sequence[Start]) -> str:
    """Compare what the last start was expected to take with what it took."""
    last = starts[-1]
    elapsed, forecast = map(format_duration, (last.elapsed_seconds, last.forecast_seconds))
    text = f"{elapsed}; the forecast was {forecast}"
    if last.state == "running":
        text = f"{elapsed} since the start, whose forecast was {forecast}"
    elif last.state == "ended" and last.elapsed_seconds:
        text += _forecast_error(last.forecast_seconds / last.elapsed_seconds - 1)
    if len(starts) > 1:
        total_seconds = sum(start.elapsed_seconds for start in starts)
        count_text = format_count(len(starts), "start")
        text += f"; in all {count_text} {format_duration(total_seconds)}"
    return text


def _forecast_error(error: float) -> str:
    """Describe the relative error of a forecast, such as ", 25 % too long"; "" if it is small."""
    percent = round(100 * abs(error))
    return f", {percent} % too {'long' if error > 0 else 'short'}" if percent else ""


def _phases_table(phases: Sequence[PhaseStatus]) -> Table:
    """Return a table with the number of runs of each phase by state."""
    states = [state for state in STATE_ORDER if any(state in each.counts for each in phases)]
    table = headed_table(
        "phase", *(Column(name, justify="right") for name in ("runs", *states)), gap=2
    )
    for each in phases:
        if not each.total and not each.counts:
            continue
        total = "?" if each.total is None else str(each.total)
        counts = (str(each.counts.get(state, "")) for state in states)
        table.add_row(each.phase, total, *counts)
    return table


def _runs_table(runs: Sequence[RunProgress]) -> Table:
    """Return a table of the runs that are being trained."""
    number = [Column(name, justify="right") for name in ("epoch", "s/epoch", "held out")]
    names = (Column(name, overflow="fold") for name in ("phase", "method", "noise", "values"))
    table = headed_table(Column("run", min_width=12), *names, "seed", *number, gap=2)
    for run in runs[:MAX_SHOWN_RUNS]:
        texts = (
            run.digest[:12],
            run.phase,
            run.method,
            run.scenario,
            run.values,
            str(run.seed),
            f"{run.epoch}/{run.epochs}",
            "" if run.seconds_per_epoch is None else f"{run.seconds_per_epoch:.2f}",
            "" if run.accuracy is None else f"{100 * run.accuracy:.1f} %",
        )
        table.add_row(*map(Text, texts))
    hidden_count = len(runs) - MAX_SHOWN_RUNS
    if hidden_count > 0:
        table.add_row(Text(f"and {hidden_count} more", style="dim"))
    return table


def _local_time(iso_time: str) -> str:
    """Return a date and time in the time zone of this machine, such as "2026-11-27 13:05"."""
    return f"{datetime.fromisoformat(iso_time).astimezone():%F %H:%M}"
