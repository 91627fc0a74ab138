"""Notes under a table that joins several sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def join_notes(notes_by_sweep: Mapping[str, Sequence[str]], part_count: int) -> Iterator[str]:
    """Yield the notes of several sweeps; a note that is not of all parts begins with their names.

    Args:
        notes_by_sweep: notes of each sweep, by a name of the sweep.
        part_count: number of parts of the table, some of which may have no sweep.
    """
    sweeps_by_note: dict[str, list[str]] = {}
    for sweep, notes in notes_by_sweep.items():
        for note in dict.fromkeys(notes):
            sweeps_by_note.setdefault(note, []).append(sweep)
    for note, sweeps in sweeps_by_note.items():
        is_of_all = len(sweeps) == part_count
        yield note if is_of_all else f"{', '.join(sweeps)}: {note}"
