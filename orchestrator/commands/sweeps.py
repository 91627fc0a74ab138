"""The commands `sweeps list`, `sweeps show` and `sweeps remove`."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.table import Column
from rich.text import Text

from orchestrator.home import folder_bytes
from orchestrator.output import CommandConsole, facts_table, headed_table, print_json
from orchestrator.planning.cost import format_size
from orchestrator.tracking.sweep_removal import (
    GC_ADVICE,
    find_unchanged,
    mark_as_deleted,
    move_to_trash,
)
from orchestrator.tracking.sweep_uses import read_sweep_uses, run_bytes, select_use
from reports.plan_record import PLAN_FILE
from reports.store import check_store, home_database, mask_password
from reports.words import format_count
from trainables.errors import HomeError, NalError, UserError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from orchestrator.flags import Locations
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
        HomeError: if the folder is no home folder.
        RecordError: if a plan cannot be read.
    """
    uses = read_sweep_uses(home) if home.exists else _read_uses(home)
    rows = [_values(home, use, uses) for use in reversed(uses)]
    if as_json:
        print_json(rows)
        return 0
    if not rows:
        text = f"No sweep is recorded in {home.path}.{_trash_text(home)}"
        CommandConsole().print(text, soft_wrap=True)
        return 0
    numbers = [Column(name, justify="right") for name in ("runs", "size", "frees")]
    table = headed_table("study", "digest", "changed", "state", *numbers)
    for row in rows:
        sizes = format_size(row["bytes"]), format_size(row["own_bytes"])
        texts = (row["study"], row["sweep"][:12], row["changed"], row["state"], str(row["runs"]))
        table.add_row(*map(Text, (*texts, *sizes)))
    console = CommandConsole()
    console.print(table)
    console.print(
        f"\nThe whole home folder occupies {format_size(folder_bytes(home.path))}. `frees` is the "
        "size of what `sweeps remove` moves to trash/, without the runs that others use; MLflow's "
        f"part is not counted.{_trash_text(home)}",
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
        "shared_runs": len(use.other_uses),
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
            "frees",
            f"{format_size(values['own_bytes'])}; "
            f"{format_count(values['shared_runs'], 'run')} stay, since others use them",
        ),
    ]
    CommandConsole().print(facts_table((name, text) for name, text in facts))
    return 0


def remove(locations: Locations, digest: str, *, yes: bool, dry_run: bool) -> int:
    """Move a sweep and the runs that only it uses to the trash, and mark them deleted in MLflow.

    Args:
        locations: locations of the home folder and the MLflow store.
        digest: beginning of the sweep's digest.
        yes: whether to remove the sweep without confirmation.
        dry_run: whether to print only what would be removed.

    Returns:
        The exit code, 0.

    Raises:
        UserError: if the user does not confirm, or standard input is not a terminal.
        HomeError: if the sweep is not recorded, a command that trains is running, or a folder
            cannot be moved.
        RecordError: if a plan or a spec cannot be read.
        ServiceError: if the given MLflow server cannot be used.
    """
    home, console = locations.home, CommandConsole()
    use = select_use(_read_uses(home, skips_damaged=False), digest)
    console.print(facts_table(_removal_facts(home, use)))
    if dry_run:
        return 0
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("nothing was removed: add --yes to remove the sweep")
        if not console.input("\nRemove? [y/N] ").strip().lower().startswith("y"):
            raise UserError("nothing was removed, because you did not confirm it")
    if locations.tracking_uri is not None:
        check_store(locations.store_uri)
    with home.not_in_use():
        find_unchanged(home, use)
        _remove_from_mlflow(locations, use, console)
        folder = move_to_trash(home, use)
    moves = [
        f"    mv {shlex.quote(str(part))}/* {shlex.quote(str(home.path / part.name))}/\n"
        for part in sorted(folder.iterdir())
    ]
    sync = ["python", "-m", "orchestrator", "sync", "--home", str(home.path)]
    if locations.tracking_uri is not None:
        sync += ["--tracking-uri", mask_password(locations.tracking_uri)]
    console.print(
        f"\nThe sweep was moved to {folder}. To free {format_size(folder_bytes(folder))}:\n"
        f"    rm -r {shlex.quote(str(folder))}\n"
        f"To undo the removal:\n{''.join(moves)}"
        f"    {shlex.join(sync)}",
        soft_wrap=True,
    )
    return 0


def _remove_from_mlflow(locations: Locations, use: SweepUse, console: Console) -> None:
    """Mark the runs of a sweep as deleted in MLflow; a store that cannot be used is named."""
    uri = locations.store_uri
    if locations.uses_home_store and not home_database(locations.home_dir).exists():
        return
    try:
        with console.status("marking the runs as deleted in MLflow"):
            count = mark_as_deleted(uri, use)
    except NalError as error:
        text = f"the MLflow runs of the sweep were not marked as deleted: {error}"
    else:
        text = (
            f"{format_count(count, 'MLflow run')} (those of the sweep and its cells too) marked as "
            f"deleted in {mask_password(uri)}; {GC_ADVICE}"
        )
    console.print(f"\n{text}", soft_wrap=True)


def _removal_facts(home: Home, use: SweepUse) -> list[tuple[str, str]]:
    """Return the headings and texts that say what a removal takes and what it leaves."""
    own_bytes = folder_bytes(use.archive.folder) + run_bytes(home, use.own_digests)
    reasons = Counter(use.other_uses.values()).most_common()
    return [
        ("sweep", f"{use.plan.study}: {use.plan.title}, {use.plan.sweep[:12]}, {use.plan.state}"),
        (
            "goes",
            f"its plan and page, {format_count(len(use.own_digests), 'run')}, "
            f"{format_size(own_bytes)}",
        ),
        *(("stays", f"{format_count(count, 'run')}: {reason}") for reason, count in reasons),
        ("stays", "searches in optuna.db, hashes of labels and outcomes, datasets"),
    ]


def _trash_text(home: Home) -> str:
    """Return a text that names the trash of a home folder and its size; "" if it is empty."""
    trash_bytes = folder_bytes(home.trash_dir)
    if not trash_bytes:
        return ""
    return (
        f" Removed sweeps occupy {format_size(trash_bytes)} of it: to free them, "
        f"rm -r {shlex.quote(str(home.trash_dir))}"
    )


def _read_uses(home: Home, *, skips_damaged: bool = True) -> list[SweepUse]:
    """Return the sweeps in a home folder; see `read_sweep_uses`.

    Raises:
        HomeError: if no sweep is recorded in the home folder.
        RecordError: if a plan cannot be read.
    """
    uses = read_sweep_uses(home, skips_damaged=skips_damaged)
    if not uses:
        removed = f" ({home.trash_dir} has removed ones)" if folder_bytes(home.trash_dir) else ""
        raise HomeError(
            f"no sweep is recorded in {home.path}{removed}: choose another folder with --home"
        )
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
