"""The list of all figures, and how one of them is made.

This module imports matplotlib, which takes a second: import it when figures are made.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from reports.figures.attention import collect_attention
from reports.figures.correction import collect_correction
from reports.figures.drawings.attention import draw_attention
from reports.figures.drawings.correction import draw_correction
from reports.figures.drawings.gradients import draw_gradients
from reports.figures.drawings.learning_curves import draw_learning_curves
from reports.figures.drawings.memorisation import draw_memorisation
from reports.figures.drawings.ranks import draw_ranks
from reports.figures.drawings.response import draw_response
from reports.figures.drawings.sensitivity import draw_sensitivity
from reports.figures.gradients import collect_gradients
from reports.figures.learning_curves import collect_learning_curves
from reports.figures.memorisation import collect_memorisation
from reports.figures.ranks import collect_ranks
from reports.figures.response import collect_response
from reports.figures.sensitivity import collect_sensitivity
from reports.figures.source import file_stem
from reports.figures.style import SUFFIXES, render
from reports.words import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from matplotlib.figure import Figure

    from reports.figures.lines import CsvRow
    from reports.figures.source import FigureSource


class FigureData(Protocol):
    """The numbers of a figure."""

    @property
    def caption(self) -> str:
        """What the figure shows."""

    def rows(self) -> Iterator[CsvRow]:
        """Yield the lines of the CSV file."""


DataT = TypeVar("DataT", bound=FigureData)


@dataclass(frozen=True, slots=True)
class FigureKind(Generic[DataT]):
    """A figure that can be made of a sweep.

    Attributes:
        key: name in `report --figure` and in file names.
        title: what the figure shows.
        collect: function that computes the numbers of the figure; raises `MissingDataError` if the
            sweep has not recorded them.
        draw: function that draws the numbers.
        has_single_scenario: whether the figure shows one scenario of several.
    """

    key: str
    title: str
    collect: Callable[[FigureSource], DataT]
    draw: Callable[[DataT], Figure]
    has_single_scenario: bool = True

    def make(self, source: FigureSource, suffixes: Sequence[str] = SUFFIXES) -> FigureFiles:
        """Make the figure of a sweep.

        Args:
            source: records of the sweep.
            suffixes: kinds of picture files, some of `style.SUFFIXES`.

        Raises:
            MissingDataError: if the sweep has not recorded the data of the figure.
            RecordError: if a file of diagnostics is damaged.
        """
        data = self.collect(source)
        plan = source.plan
        words = [file_stem(plan.study), "figure", self.key]
        is_choice = len(source.all_scenarios) > 1 and (self.has_single_scenario or source.scenario)
        if is_choice:
            words.append(file_stem(source.single_scenario))
        title = f"{plan.study}: {self.title}"
        return FigureFiles(
            key=self.key,
            title=printable(title),
            stem="-".join(words),
            caption=printable(data.caption),
            files={**render(lambda: self.draw(data), title, suffixes), "csv": to_csv(data.rows())},
        )


@dataclass(frozen=True, slots=True)
class FigureFiles:
    """The files of a figure.

    Attributes:
        key: name of the figure in `report --figure`.
        title: study and what the figure shows.
        stem: name of the files, without suffix.
        caption: caption, with the numbers of seeds and what bands show.
        files: contents by suffix: those of the pictures, and "csv".
    """

    key: str
    title: str
    stem: str
    caption: str
    files: dict[str, bytes]

    @property
    def svg(self) -> str:
        """The picture as SVG, with its letters drawn as outlines."""
        return self.files["svg"].decode()


_KINDS: tuple[FigureKind[Any], ...] = (
    FigureKind("1", "memorisation", collect_memorisation, draw_memorisation),
    FigureKind(
        "2", "attention weights", collect_attention, draw_attention, has_single_scenario=False
    ),
    FigureKind("3", "gradients", collect_gradients, draw_gradients),
    FigureKind("4", "correction of labels", collect_correction, draw_correction),
    FigureKind("sensitivity", "sensitivity to λ and α", collect_sensitivity, draw_sensitivity),
    FigureKind("curves", "learning curves", collect_learning_curves, draw_learning_curves),
    FigureKind("response", "response of the search", collect_response, draw_response),
    FigureKind("ranks", "average ranks", collect_ranks, draw_ranks, has_single_scenario=False),
)

FIGURES = {kind.key: kind for kind in _KINDS}
"""All figures by key, in the order in which they are made."""


def to_csv(rows: Iterable[CsvRow]) -> bytes:
    """Return rows with the same columns as a CSV file; numbers have all their digits.

    A NaN becomes an empty cell.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow(map(_csv_value, row.values()))
    return buffer.getvalue().encode()


def _csv_value(value: object) -> object:
    """Return a value as it stands in a CSV file."""
    if isinstance(value, str):
        return printable(value)
    return "" if isinstance(value, float) and isnan(value) else value
