"""A table between its making and its rendering: what is said, not how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in one place of a table.

    Attributes:
        text: "93.49 ± 0.07"; "" for an empty place.
        remark: what keeps it from being whole: "2 of 5 seeds".
        bold: whether it is the best of its column.
        mean: in percent.
        std: in percent; None for fewer than two runs.
        n: number of runs behind it; None where that is not ours to say.
        diverged: number of runs that diverged.
    """

    text: str = ""
    remark: str = ""
    bold: bool = False
    mean: float | None = None
    std: float | None = None
    n: int | None = None
    diverged: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: "NAL, λ = 1.2, α = 0.9".
        marker: how it came about: "tuned (16 trials)", "fixed (paper, eq. 1)", "paper".
        kind: whether the sweep measured it or it is quoted.
        entries: one per column.
    """

    name: str
    marker: str
    kind: Literal["measured", "quoted"]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading; "" for a table with a single section."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Accuracies in percent.

    Attributes:
        title: of the study.
        subtitle: dataset, backbone, length.
        columns: headings of the entries.
        sections: rows in order.
        notes: what must be known to read it, one sentence or two each.
    """

    title: str
    subtitle: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
