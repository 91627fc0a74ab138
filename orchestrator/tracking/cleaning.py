"""Deletion of the checkpoints that a finished sweep does not keep (`keep: table` in its study)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.home import folder_bytes
from orchestrator.tracking.sweep_uses import read_sweep_uses
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.home import Home


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What was deleted of the checkpoints that a finished sweep does not keep.

    Attributes:
        deleted_count: number of runs whose checkpoints were deleted.
        freed_bytes: freed space, in bytes.
        left_count: number of runs outside the table that still have checkpoints.
    """

    deleted_count: int = 0
    freed_bytes: int = 0
    left_count: int = 0


def delete_unused_checkpoints(home: Home, sweep_digest: str) -> Cleaning:
    """Delete the checkpoints of a finished sweep's runs that are not in its table.

    The results, curves and diagnostics of the runs stay. Checkpoints stay of runs that have not
    ended, that were stopped early, so that a later sweep can continue them, that another sweep or a
    command uses, and that any other run needs. The home folder must be locked by
    `Home.not_in_use`.

    Args:
        home: home folder.
        sweep_digest: digest of the sweep.

    Raises:
        RecordError: if a plan or a record cannot be read.
        HomeError: if a checkpoint cannot be deleted.
    """
    uses = read_sweep_uses(home, skips_damaged=False)
    use = next((use for use in uses if use.plan.sweep == sweep_digest), None)
    if use is None:  # another process has removed the sweep meanwhile
        return Cleaning()
    outside = use.plan.digests - {digest for cell in use.plan.cells for digest in cell.digests}
    if use.plan.state != "finished":
        return Cleaning(left_count=_count_with_checkpoint(home, outside))
    # Those that are not in the plan are needed by runs that are.
    digests = (use.own_digests & outside) - use.needed_digests
    deleted_count = freed_bytes = 0
    for digest in sorted(digests):
        record = Record(home.path, digest)
        result = record.read_result()
        if result is None or not result.is_final or record.is_cleaned or record.has_outcomes:
            continue
        with record.claimed(patience_seconds=0):
            old_bytes = folder_bytes(record.folder)
            record.delete_checkpoints()
            freed_bytes += old_bytes - folder_bytes(record.folder)
            deleted_count += 1
    return Cleaning(deleted_count, freed_bytes, _count_with_checkpoint(home, outside))


def _count_with_checkpoint(home: Home, digests: Iterable[str]) -> int:
    """Return the number of runs that have a checkpoint."""
    return sum(Record(home.path, digest).checkpoint_path.exists() for digest in digests)
