"""The sweeps in a home folder: the runs that each uses, and which of them others use too.

Everything is read from the plans and records in the home folder. An MLflow store may lack runs, or
have those of several homes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.home import folder_bytes
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
        other_uses: what else in the home folder uses a run, by the digest of the run, such as
            "used by the sweep of digits 0123456789ab".
        needed_digests: digests of those of its runs that other runs need.
    """

    archive: SweepArchive
    plan: PlanRecord
    digests: frozenset[str]
    other_uses: Mapping[str, str]
    needed_digests: frozenset[str]

    @property
    def own_digests(self) -> frozenset[str]:
        """Digests of the runs that nothing else in the home folder uses."""
        return self.digests - self.other_uses.keys()


def read_sweep_uses(home: Home, *, skips_damaged: bool = True) -> list[SweepUse]:
    """Return the sweeps in a home folder, least recently changed first.

    Args:
        home: home folder.
        skips_damaged: whether a run whose spec is damaged is taken to need no other, and a folder
            without a plan to be no sweep. Otherwise they are errors.

    Raises:
        RecordError: if a plan cannot be read, since any run may belong to its sweep.
    """
    if not skips_damaged:
        for folder in sorted((home.path / "sweeps").glob("*/")):
            SweepArchive(folder).read_plan_and_study()
    needs = _read_needs(home.path, skips_damaged=skips_damaged)
    plans = [(archive, archive.read_plan_and_study()[0]) for archive in iter_archives(home.path)]
    digests = [with_needs(plan.digests, needs) & needs.keys() for _, plan in plans]
    # what uses a run, by the digest of the run and then by the folder of the sweep that uses it
    uses: dict[str, dict[Path | None, str]] = defaultdict(dict)
    for (archive, plan), sweep_digests in zip(plans, digests, strict=True):
        for digest in sweep_digests:
            uses[digest][archive.folder] = f"used by the sweep of {plan.study} {plan.sweep[:12]}"
    needed = set().union(*needs.values())
    outside_sweeps = needs.keys() - uses.keys()
    standalone = {digest for digest in needs if Record(home.path, digest).is_standalone}
    for digest in with_needs(outside_sweeps, needs):
        uses[digest][None] = "needed by a run that is in no sweep"
    for digest in with_needs(standalone, needs):
        uses[digest][None] = "trained by `train`"
    return [
        SweepUse(
            archive,
            plan,
            frozenset(sweep_digests),
            {
                digest: next(use for user, use in uses[digest].items() if user != archive.folder)
                for digest in sweep_digests
                if uses[digest].keys() != {archive.folder}
            },
            frozenset(sweep_digests & needed),
        )
        for (archive, plan), sweep_digests in zip(plans, digests, strict=True)
    ]


def _read_needs(home_dir: Path, *, skips_damaged: bool) -> dict[str, set[str]]:
    """Return the digests of the runs that each run in a home folder needs directly, by digest.

    Raises:
        RecordError: if a spec is damaged, unless such runs are taken to need no other.
    """
    needs: dict[str, set[str]] = {}
    for path in (home_dir / "runs").glob("*/spec.json"):
        digest = path.parent.name
        needs[digest] = set()
        try:
            if (spec := Record(home_dir, digest).read_spec()) is not None:
                needs[digest] = set(map(str, spec.needs.values()))
        except RecordError as error:
            if not skips_damaged:
                raise RecordError(
                    f"{error}: the run may need others, so nothing is deleted: move the folder "
                    f"{path.parent} elsewhere"
                ) from error
    return needs


def with_needs(digests: Iterable[str], needs: Mapping[str, set[str]]) -> set[str]:
    """Return digests of runs together with those of all runs that these need."""
    reached: set[str] = set()
    open_digests = list(digests)
    while open_digests:
        digest = open_digests.pop()
        if digest not in reached:
            reached.add(digest)
            open_digests += needs.get(digest, ())
    return reached


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
