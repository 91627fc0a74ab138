"""Content of a table, independent of the format in which it is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a table.

    Attributes:
        text: text of the entry, such as "93.49 ± 0.07"; "" for an empty entry.
        remark: remark on missing or failed runs, such as "2 of 5 seeds"; "" for none.
        bold: whether the entry is the best of its column.
        mean: mean accuracy in percent; None if there is none.
        std: standard deviation in percent; None for fewer than two runs.
        n: number of runs averaged; None for a number quoted from the paper.
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
        name: method and values, such as "NAL, λ = 1.2, α = 0.9".
        marker: origin of the values, such as "tuned (16 trials)" or "fixed (paper, eq. 1)".
        kind: "measured" by the sweep or "quoted" from the paper.
        entries: one entry per column.
    """

    name: str
    marker: str
    kind: Literal["measured", "quoted"]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading.

    Attributes:
        title: heading; "" in a table with a single section.
        rows: rows in order.
    """

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of accuracies in percent.

    Attributes:
        title: title of the study.
        subtitle: dataset, backbone and length of the trainings.
        columns: headings of the columns.
        sections: sections in order.
        notes: notes below the table, one or two sentences each.
    """

    title: str
    subtitle: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
