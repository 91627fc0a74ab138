"""The commands `sweeps list` and `sweeps show`."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.table import Column
from rich.text import Text

from orchestrator.output import CommandConsole, facts_table, headed_table, print_json
from orchestrator.planning.cost import format_size
from orchestrator.tracking.sweep_uses import folder_bytes, read_sweep_uses, run_bytes, select_use
from reports.plan_record import PLAN_FILE
from reports.words import format_count
from trainables.errors import HomeError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.home import Home
    from orchestrator.tracking.sweep_uses import SweepUse


def list_sweeps(home: Home, *, as_json: bool) -> int:
    """Print the sweeps in a home folder, and what each occupies on the disk.

    Args:
        home: home folder.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        HomeError: if no sweep is recorded in the home folder.
        RecordError: if a plan cannot be read.
    """
    uses = _read_uses(home)
    rows = [_values(home, use, uses) for use in reversed(uses)]
    if as_json:
        print_json(rows)
        return 0
    numbers = [Column(name, justify="right") for name in ("runs", "size", "alone")]
    table = headed_table("study", "digest", "changed", "state", *numbers)
    for row in rows:
        sizes = format_size(row["bytes"]), format_size(row["own_bytes"])
        texts = (row["study"], row["sweep"][:12], row["changed"], row["state"], str(row["runs"]))
        table.add_row(*map(Text, (*texts, *sizes)))
    console = CommandConsole()
    console.print(table)
    console.print(
        f"\nThe whole home folder occupies {format_size(folder_bytes(home.path))}. `alone` is the "
        "size of what no other sweep uses; MLflow's part is not counted.",
        soft_wrap=True,
    )
    return 0


def show(home: Home, digest: str, *, as_json: bool) -> int:
    """Print the runs of a sweep by phase and status, and what it shares with others.

    Args:
        home: home folder.
        digest: beginning of the sweep's digest.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        HomeError: if the sweep is not recorded in the home folder.
        RecordError: if a plan or a result cannot be read.
    """
    uses = _read_uses(home)
    use = select_use(uses, digest)
    values = _values(home, use, uses) | {
        "title": use.plan.title,
        "phases": _phase_counts(home, use),
        "shared_runs": len(use.digests - use.own_digests),
    }
    if as_json:
        print_json(values)
        return 0
    facts = [
        ("study", f"{use.plan.study}: {use.plan.title}"),
        ("digest", use.plan.sweep),
        ("changed", values["changed"]),
        ("state", values["state"]),
        *(
            (phase, ", ".join(f"{count} {status}" for status, count in counts.items()))
            for phase, counts in values["phases"].items()
        ),
        ("size", f"{format_size(values['bytes'])} in {format_count(values['runs'], 'run')}"),
        (
            "alone",
            f"{format_size(values['own_bytes'])}; "
            f"{format_count(values['shared_runs'], 'run')} used by other sweeps too",
        ),
    ]
    CommandConsole().print(facts_table((name, text) for name, text in facts))
    return 0


def _read_uses(home: Home) -> list[SweepUse]:
    """Return the sweeps in a home folder.

    Raises:
        HomeError: if no sweep is recorded in the home folder.
        RecordError: if a plan cannot be read.
    """
    uses = read_sweep_uses(home)
    if not uses:
        raise HomeError(f"no sweep is recorded in {home.path}: choose another folder with --home")
    return uses


def _state(home: Home, use: SweepUse, uses: Sequence[SweepUse]) -> str:
    """Return the state of a sweep: finished, running, or interrupted if no process carries it out.

    Of several sweeps of a study, only the one that was changed last can be running.
    """
    if use.plan.state == "finished":
        return use.plan.state
    latest = [other for other in uses if other.plan.study == use.plan.study][-1]
    is_running = latest is use and home.is_carried_out(use.plan.study)
    return "running" if is_running else "interrupted"


def _values(home: Home, use: SweepUse, uses: Sequence[SweepUse]) -> dict[str, Any]:
    """Return what a sweep is and occupies, as values that can be written as JSON."""
    changed_at = (use.archive.folder / PLAN_FILE).stat().st_mtime
    own_bytes = run_bytes(home, use.own_digests)
    archive_bytes = folder_bytes(use.archive.folder)
    return {
        "study": use.plan.study,
        "sweep": use.plan.sweep,
        "changed": f"{datetime.fromtimestamp(changed_at).astimezone():%F %H:%M}",
        "state": _state(home, use, uses),
        "runs": len(use.digests),
        "bytes": archive_bytes + own_bytes + run_bytes(home, use.digests - use.own_digests),
        "own_bytes": archive_bytes + own_bytes,
    }


def _phase_counts(home: Home, use: SweepUse) -> dict[str, dict[str, int]]:
    """Return the number of runs of a sweep by phase and by how they ended."""
    phases = use.plan.digests_by_phase
    listed = set().union(*phases.values())
    phases["needed by these"] = set(use.digests - listed)
    counts = {}
    for phase, digests in phases.items():
        results = {digest: Record(home.path, digest).read_result() for digest in digests}
        statuses = (
            "missing" if result is None else str(result.status) for result in results.values()
        )
        counts[phase] = dict(Counter(statuses).most_common())
    return {phase: count for phase, count in counts.items() if count}
