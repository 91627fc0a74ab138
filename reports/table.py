"""The content of a comparison table, independent of the format in which it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a comparison table: the accuracy of a method in one column.

    Attributes:
        text: printed accuracy, such as "93.49 ± 0.07"; "" for an empty entry.
        remark: printed remark on missing or failed runs, such as "2 of 5 seeds"; "" for none.
        bold: whether the entry is printed in bold, as the best of its column.
        mean: mean accuracy in percent; None if no run has finished.
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
    """One row of a comparison table: a method with its hyperparameter values.

    Attributes:
        name: title of the method, with values if it has any, such as "NAL, λ = 1.2, α = 0.9".
        marker: text beside the name that states the origin of the values, such as "tuned (16
            trials)" or "fixed (paper, eq. 1)".
        kind: "measured" for accuracies of the sweep's runs, "quoted" for those that the paper
            reports.
        entries: one entry per column.
    """

    name: str
    marker: str
    kind: Literal["measured", "quoted"]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """The rows of a comparison table under one heading.

    Attributes:
        title: heading; "" in a table with a single section.
        rows: rows from top to bottom.
    """

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A comparison table: test accuracies of methods in percent, with notes.

    Attributes:
        title: title of the study.
        subtitle: dataset, backbone and number of epochs.
        columns: headings of the columns.
        sections: sections from top to bottom.
        notes: notes below the table, one or two sentences each.
    """

    title: str
    subtitle: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
