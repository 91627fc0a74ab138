"""The sweeps in a home folder: the runs that each uses, and what these occupy on the disk."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.tracking.archive import SweepArchive, iter_archives
from trainables.errors import HomeError, RecordError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from orchestrator.home import Home
    from reports.plan_record import PlanRecord


@dataclass(frozen=True, slots=True)
class SweepUse:
    """The runs of a sweep in a home folder.

    Attributes:
        archive: folder with the plan of the sweep.
        plan: plan of the sweep.
        digests: digests of its runs that have a folder, with the runs that they need.
        own_digests: those of them that no other sweep in the home folder uses.
    """

    archive: SweepArchive
    plan: PlanRecord
    digests: frozenset[str]
    own_digests: frozenset[str]


def read_sweep_uses(home: Home) -> list[SweepUse]:
    """Return the sweeps in a home folder, least recently changed first.

    Raises:
        RecordError: if a plan cannot be read.
    """
    needs = _read_needs(home.path)
    plans = [(archive, archive.read_plan_and_study()[0]) for archive in iter_archives(home.path)]
    digests = [_with_needs(plan.digests, needs) & needs.keys() for _, plan in plans]
    users: dict[str, int] = {}
    for sweep_digests in digests:
        for digest in sweep_digests:
            users[digest] = users.get(digest, 0) + 1
    return [
        SweepUse(
            archive,
            plan,
            frozenset(sweep_digests),
            frozenset(digest for digest in sweep_digests if users[digest] == 1),
        )
        for (archive, plan), sweep_digests in zip(plans, digests, strict=True)
    ]


def _read_needs(home_dir: Path) -> dict[str, set[str]]:
    """Return the digests of the runs that each run in a home folder needs directly, by digest.

    A run whose spec is damaged is taken to need no other.
    """
    needs: dict[str, set[str]] = {}
    for path in (home_dir / "runs").glob("*/spec.json"):
        digest = path.parent.name
        needs[digest] = set()
        with suppress(RecordError):
            if (spec := Record(home_dir, digest).read_spec()) is not None:
                needs[digest] = set(map(str, spec.needs.values()))
    return needs


def _with_needs(digests: Iterable[str], needs: Mapping[str, set[str]]) -> set[str]:
    """Return digests of runs together with those of all runs that these need."""
    reached: set[str] = set()
    open_digests = list(digests)
    while open_digests:
        digest = open_digests.pop()
        if digest not in reached:
            reached.add(digest)
            open_digests += needs.get(digest, ())
    return reached


def folder_bytes(folder: Path) -> int:
    """Return the space that the files in a folder occupy on the disk, in bytes."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if not path.is_symlink() and path.is_file():
                total += 512 * path.stat().st_blocks
    return total


def run_bytes(home: Home, digests: Iterable[str]) -> int:
    """Return the space that the folders of runs occupy on the disk, in bytes."""
    return sum(folder_bytes(Record(home.path, digest).folder) for digest in digests)


def select_use(uses: Iterable[SweepUse], prefix: str) -> SweepUse:
    """Return the sweep whose digest begins with a text.

    Raises:
        HomeError: if no sweep or more than one matches, or the text is empty.
    """
    uses = list(uses)
    matches = [use for use in uses if prefix and use.plan.sweep.startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    problem = f"{len(matches)} sweeps begin with '{prefix}'" if matches else f"no sweep '{prefix}'"
    known = ", ".join(f"{use.plan.study} {use.plan.sweep[:12]}" for use in matches or uses)
    raise HomeError(f"{problem}: choose one of these digests: {known or 'none is recorded'}")
