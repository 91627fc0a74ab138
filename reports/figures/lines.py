"""Lines with a band over seeds, the content of most figures."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

BAND_NOTE = "Lines are means over seeds, bands ± 1 sample standard deviation (ddof 1)"
"""What lines and bands show, for captions."""

CsvRow = dict[str, object]
"""One line of a figure's CSV file: value by column."""


@dataclass(frozen=True, slots=True)
class Band:
    """Mean and standard deviation over seeds at each position of the horizontal axis.

    Attributes:
        x: positions, in increasing order.
        mean: mean over the seeds with a value at the position.
        std: sample standard deviation (ddof 1); NaN for fewer than two seeds.
        n: number of seeds with a value at the position.
    """

    x: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n: tuple[int, ...]

    @classmethod
    def over_seeds(cls, series: Iterable[Mapping[float, float]]) -> Band:
        """Summarise one series of values by position for each seed; values that are NaN are absent.

        Args:
            series: values by position, one mapping for each seed.
        """
        values_by_x: dict[float, list[float]] = {}
        for seed_values in series:
            for x, value in seed_values.items():
                if isfinite(value):
                    values_by_x.setdefault(float(x), []).append(value)
        positions = sorted(values_by_x)
        groups = [values_by_x[x] for x in positions]
        return cls(
            x=tuple(positions),
            mean=tuple(fmean(group) for group in groups),
            std=tuple(stdev(group) if len(group) > 1 else nan for group in groups),
            n=tuple(len(group) for group in groups),
        )


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a panel.

    Attributes:
        label: text in the legend.
        role: name of the line's colour, dash and marker in `reports.figures.style`.
        band: values of the line.
    """

    label: str
    role: str
    band: Band


@dataclass(frozen=True, slots=True)
class LinePanel:
    """A panel with lines.

    Attributes:
        title: heading of the panel, without its letter.
        y_label: title of the vertical axis.
        lines: lines, those in front last.
    """

    title: str
    y_label: str
    lines: tuple[Line, ...]


def line_rows(panels: Sequence[LinePanel], x_name: str = "epoch") -> Iterator[CsvRow]:
    """Yield the values of all lines of panels, one position of one line at a time.

    Args:
        panels: panels of the figure.
        x_name: title of the column of positions.
    """
    for panel in panels:
        for line in panel.lines:
            band = line.band
            for x, mean, std, n in zip(band.x, band.mean, band.std, band.n, strict=True):
                yield {
                    "panel": panel.title,
                    "quantity": panel.y_label,
                    "line": line.label,
                    x_name: x,
                    "mean": mean,
                    "std": std,
                    "n": n,
                }


def seeds_text(counts: Iterable[int]) -> str:
    """Return the numbers of seeds of a figure as a text, such as "n = 5" or "n = 3 to 5"."""
    unique_counts = sorted(set(counts))
    if not unique_counts:
        return "n = 0"
    low, high = unique_counts[0], unique_counts[-1]
    return f"n = {low}" if low == high else f"n = {low} to {high}"
