"""Learning curves: the test accuracy of every row of the table over the epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.figures.lines import BAND_NOTE, Band, Line, LinePanel, line_rows, seeds_text
from reports.figures.source import MissingDataError, cell_label
from reports.figures.style import numbered_role
from trainables.run.metrics import TEST_ACCURACY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reports.figures.lines import CsvRow
    from reports.figures.source import FigureSource


@dataclass(frozen=True, slots=True)
class LearningCurves:
    """Test accuracy over the epochs on one scenario.

    Attributes:
        panel: one line for each row of the table.
        caption: what the figure shows.
    """

    panel: LinePanel
    caption: str

    def rows(self) -> Iterator[CsvRow]:
        """Yield the lines of the CSV file."""
        return line_rows([self.panel])


def collect_learning_curves(source: FigureSource) -> LearningCurves:
    """Read the test accuracies of the finished runs of one scenario from MLflow.

    Varied values have a figure of their own and are left out, and so is a row without finished
    runs.

    Raises:
        MissingDataError: if no run has finished with test accuracies.
    """
    scenario = source.single_scenario
    lines: list[Line] = []
    for cell in source.plan.cells:
        if cell.scenario != scenario or cell.origin == "varied":
            continue
        runs = list(source.finished_runs(cell).values())
        histories = source.read_histories(runs, TEST_ACCURACY)
        band = Band.over_seeds(
            {float(epoch): 100 * value for epoch, value in history.items()} for history in histories
        )
        if band.x:
            lines.append(Line(cell_label(cell), numbered_role(len(lines)), band))
    if not lines:
        raise MissingDataError(
            f"no run of the confirm phase with fixed or chosen values has finished on {scenario}: "
            "type the sweep's command again to continue it"
        )
    title = source.scenario_title(scenario)
    counts = [n for line in lines for n in line.band.n]
    return LearningCurves(
        LinePanel(title, "test accuracy (%)", tuple(lines)),
        f"Test accuracy on {source.plan.dataset.title} with {title} label noise over the epochs. "
        f"{BAND_NOTE}, {seeds_text(counts)}.",
    )
