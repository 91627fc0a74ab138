"""Average ranks of methods over scenarios, the content of a critical-difference diagram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.comparison import comparison_table
from reports.figures.source import MissingDataError
from reports.ranks import RankComparison, rank_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reports.figures.lines import CsvRow
    from reports.figures.source import FigureSource


@dataclass(frozen=True, slots=True)
class Ranks:
    """Average ranks of methods, and which of them cannot be told apart.

    Attributes:
        comparison: average ranks with the tests of them.
        critical_difference: smallest difference of two average ranks that the test finds.
        caption: what the figure shows.
    """

    comparison: RankComparison
    critical_difference: float
    caption: str

    def rows(self) -> Iterator[CsvRow]:
        """Yield the lines of the CSV file."""
        for method in self.comparison.methods:
            yield {
                "method": method.name,
                "average rank": method.rank,
                "scenarios": self.comparison.scenario_count,
                "critical difference": self.critical_difference,
            }


def collect_ranks(source: FigureSource) -> Ranks:
    """Rank the rows of a sweep's table in each scenario.

    Raises:
        MissingDataError: if there are too few scenarios or methods for a test of average ranks.
    """
    comparison = rank_rows(comparison_table(source.plan, list(source.runs.values())))
    if comparison.critical_difference is None:
        raise MissingDataError(comparison.obstacle)
    return Ranks(
        comparison=comparison,
        critical_difference=comparison.critical_difference,
        caption=(
            f"Average ranks by mean test accuracy, {comparison.kind}; 1 is the best. Bars join "
            f"methods that are not told apart. {comparison.statement}"
        ),
    )
