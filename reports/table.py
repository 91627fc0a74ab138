"""The content of a comparison table, independent of the format in which it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.words import format_accuracy

NOT_CONVERGED = "⊖"
"""Mark of an entry none of whose runs has converged; the NAL paper prints the same symbol."""


@dataclass(frozen=True, slots=True)
class SeedAccuracy:
    """The accuracy of one finished run of an entry.

    Attributes:
        seed: base seed of the run.
        accuracy: accuracy in percent.
        digest: digest of the run.
    """

    seed: int
    accuracy: float
    digest: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a comparison table: the accuracy of a method in one column.

    Attributes:
        scenario: name of the label-noise scenario; "" for an empty entry.
        kind: title of the accuracy, such as "last epoch"; "" for an empty entry.
        marks: symbols that notes explain, such as "†" and `NOT_CONVERGED`.
        remark: remark on missing or failed runs, such as "2 of 5 seeds"; "" for none.
        bold: whether the entry is the best of its column, or cannot be told from the best.
        mean: mean accuracy in percent; None if no run has finished.
        std: standard deviation in percent; None for fewer than two runs.
        n: number of runs averaged; None if a publication does not state it.
        diverged: number of runs that diverged.
        runs: finished runs; empty for a published accuracy.
        digests: digests of the planned runs, one for each seed; empty for a published accuracy.
    """

    scenario: str = ""
    kind: str = ""
    marks: tuple[str, ...] = ()
    remark: str = ""
    bold: bool = False
    mean: float | None = None
    std: float | None = None
    n: int | None = None
    diverged: int = 0
    runs: tuple[SeedAccuracy, ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the entry has no content, since its row has no runs in this column."""
        return not self.kind

    @property
    def accuracy_by_seed(self) -> dict[int, float]:
        """Accuracies of the finished runs in percent, by seed."""
        return {run.seed: run.accuracy for run in self.runs}

    @property
    def text(self) -> str:
        """Printed accuracy with marks, such as "93.49 ± 0.07†"; "" for an empty entry."""
        if self.is_empty or NOT_CONVERGED in self.marks:
            return "".join(self.marks)
        return format_accuracy(self.mean, self.std) + "".join(self.marks)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a comparison table: a method with its hyperparameter values.

    Attributes:
        method: name of the method in studies; "" for a method that is only quoted.
        name: title of the method, with values if it has any, such as "NAL, λ = 1.2, α = 0.9".
        marker: text beside the name that states the origin of the values, such as "tuned (16
            trials)" or "fixed (paper, eq. 1)".
        kind: "measured" for accuracies of the sweep's runs, "quoted" for those that the paper
            reports.
        entries: one entry per column.
    """

    method: str
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
class TableSource:
    """The sweep that a table is made from.

    Attributes:
        study: name of the study.
        sweep: digest of the sweep.
        state: "finished" if all runs of the sweep have ended, else "running".
        dataset: title of the dataset.
        backbone: title of the backbone.
    """

    study: str
    sweep: str
    state: str
    dataset: str
    backbone: str


@dataclass(frozen=True, slots=True)
class Table:
    """A comparison table: test accuracies of methods in percent, with notes.

    Attributes:
        source: sweep that the table is made from.
        title: title of the study.
        subtitle: dataset, backbone and number of epochs.
        columns: headings of the columns.
        sections: sections from top to bottom.
        notes: notes below the table, one or two sentences each.
    """

    source: TableSource
    title: str
    subtitle: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
