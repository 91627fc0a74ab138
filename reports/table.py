"""The content of a comparison table, independent of the format in which it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from reports.spread import Spread
from reports.words import NO_NUMBER, format_accuracy, format_values

if TYPE_CHECKING:
    from reports.optimism import SearchOptimism

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
        std: sample standard deviation in percent; None for fewer than two runs. For a published
            accuracy, the number that is printed after ±.
        n: number of runs averaged; None if a publication does not state it.
        diverged: number of runs that diverged.
        runs: finished runs; empty for a published accuracy.
        source: position in `Table.sources` of the sweep that the runs belong to, or that a
            published accuracy stands beside.
        spread: what is printed after ±; None for a published accuracy, whose ± is as printed.
        unit: unit of the numbers; "%" for accuracies, "s", "h" or "MB" for time and memory.
        values: hyperparameter values that the entry shows in place of a number.
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
    source: int = 0
    spread: Spread | None = Spread.SD
    unit: str = "%"
    values: tuple[tuple[str, bool | int | float | str], ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def plus_minus(self) -> float | None:
        """Number after ±, in points; None if there is none, as for a single run."""
        return self.std if self.spread is None else self.spread.of(self.std, self.n)

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
        """Printed number with marks, such as "93.49 ± 0.07†"; "" for an empty entry."""
        if self.is_empty or NOT_CONVERGED in self.marks:
            return "".join(self.marks)
        if self.unit != "%":
            number = NO_NUMBER if self.mean is None else f"{self.mean:.3g}"
            return format_values(dict(self.values)) or number
        has_one_run = self.n == 1 and self.spread is not None
        text = format_accuracy(self.mean, self.plus_minus, one_run=has_one_run)
        return text + "".join(self.marks)


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
        sweep: digest of the sweep; "" if no sweep of the study is recorded.
        state: "finished" if all runs of the sweep have ended, else "running"; "not recorded" for
            no sweep.
        dataset: title of the dataset.
        backbone: title of the backbone.
    """

    study: str
    sweep: str
    state: str
    dataset: str
    backbone: str

    @property
    def label(self) -> str:
        """Text that identifies the sweep, such as "study digits, sweep 1f3c9a2b7d4e"."""
        return f"study {self.study}, " + (f"sweep {self.sweep[:12]}" if self.sweep else "no sweep")


@dataclass(frozen=True, slots=True)
class Table:
    """A comparison table: test accuracies of methods in percent, with notes.

    Attributes:
        source: sweep that the table is made from; the first of several.
        title: title of the study.
        subtitle: dataset, backbone and number of epochs.
        columns: headings of the columns.
        sections: sections from top to bottom.
        notes: notes below the table, one or two sentences each.
        further_sources: other sweeps that a joined table is made from.
        spread: what is printed after ± of the measured accuracies.
        optimism: held-out accuracy of each search's winner in the search and on fresh seeds.
    """

    source: TableSource
    title: str
    subtitle: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    further_sources: tuple[TableSource, ...] = ()

    @property
    def sources(self) -> tuple[TableSource, ...]:
        """All sweeps that the table is made from."""
        return (self.source, *self.further_sources)

    spread: Spread = Spread.SD
    optimism: tuple[SearchOptimism, ...] = ()
