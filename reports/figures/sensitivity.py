"""Figure 4 e and f of the NAL paper: test accuracy against each hyperparameter."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.figures.lines import Band, seeds_text
from reports.figures.source import CROSS_ENTROPY, NAL, MissingDataError
from reports.words import GREEK_LETTERS, format_values
from trainables.run.metrics import TEST_LAST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.figures.lines import CsvRow
    from reports.figures.source import FigureSource
    from reports.plan_record import CellRecord, HyperparameterValues

LOGARITHMIC_RATIO = 100.0
"""Ratio of the largest to the smallest positive value from which the axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class SensitivityPanel:
    """Test accuracy against one hyperparameter, while the others are fixed.

    Attributes:
        name: name of the hyperparameter.
        fixed: values of the others, by name.
        band: accuracies in percent by value.
        is_logarithmic: whether the horizontal axis is logarithmic.
        centre: value of the hyperparameter while the others are varied; None if none is.
    """

    name: str
    fixed: HyperparameterValues
    band: Band
    is_logarithmic: bool
    centre: float | None

    @property
    def letter(self) -> str:
        """Greek letter of the hyperparameter, or its name."""
        return GREEK_LETTERS.get(self.name, self.name)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Test accuracy of NAL in the last epoch against each varied hyperparameter.

    Attributes:
        panels: one panel for each hyperparameter with at least two values.
        baseline: accuracy of cross entropy in percent; no positions if it is not in the study.
        caption: what the figure shows.
    """

    panels: tuple[SensitivityPanel, ...]
    baseline: Band
    caption: str

    def rows(self) -> Iterator[CsvRow]:
        """Yield the lines of the CSV file."""
        for panel in self.panels:
            band = panel.band
            for x, mean, std, n in zip(band.x, band.mean, band.std, band.n, strict=True):
                yield _row("NAL", panel.name, x, (mean, std, n), format_values(panel.fixed))
        for mean, std, n in zip(
            self.baseline.mean, self.baseline.std, self.baseline.n, strict=True
        ):
            yield _row("Cross Entropy", "", "", (mean, std, n), "")


def collect_sensitivity(source: FigureSource) -> Sensitivity:
    """Compute Fig. 4 e and f from the summary numbers of the cells with varied values.

    Raises:
        MissingDataError: if the study varies no hyperparameter of NAL, or no such run has finished.
    """
    scenario = source.single_scenario
    cells = [
        cell
        for cell in source.plan.cells
        if (cell.method, cell.scenario, cell.origin) == (NAL, scenario, "varied")
    ]
    if not cells:
        raise MissingDataError(
            f"study '{source.plan.study}' varies no hyperparameter of NAL: sweep "
            "'cifar10-sensitivity', or a study with `vary`"
        )
    panels = varied_panels(cells, [_accuracies(source, cell) for cell in cells])
    if not panels:
        raise MissingDataError(
            "fewer than two varied values have a finished run: type the sweep's command again to "
            "continue it"
        )
    cross_entropy = source.find_cell(CROSS_ENTROPY, scenario)
    accuracies = [] if cross_entropy is None else _accuracies(source, cross_entropy)
    baseline = Band.over_seeds({0.0: value} for value in accuracies)
    counts = [n for panel in panels for n in panel.band.n]
    is_ringed = any(panel.centre is not None for panel in panels)
    return Sensitivity(
        tuple(panels),
        baseline,
        f"Test accuracy of NAL in the last epoch on {source.plan.dataset.title} with "
        f"{source.scenario_title(scenario)} label noise against each hyperparameter. Points are "
        "means over seeds, bars ± 1 sample standard deviation (ddof 1), "
        f"{seeds_text(counts)}"
        + ("; ringed: the value that is kept while the other is varied." if is_ringed else "."),
    )


def varied_panels(
    cells: Sequence[CellRecord], accuracies: Sequence[Sequence[float]]
) -> list[SensitivityPanel]:
    """Return one panel for each hyperparameter that has at least two values with finished runs.

    A study varies one hyperparameter at a time. The value that the others keep meanwhile is the
    most frequent one among the cells.

    Args:
        cells: cells with varied values.
        accuracies: accuracies of the finished runs of each cell, in percent.
    """
    names = list(dict.fromkeys(name for cell in cells for name in cell.values))
    # λ comes before α, as in the paper.
    names.sort(key=lambda name: list(GREEK_LETTERS).index(name) if name in GREEK_LETTERS else 9)
    centre = {
        name: Counter(cell.values[name] for cell in cells).most_common(1)[0][0] for name in names
    }
    varied_count = sum(len({cell.values[name] for cell in cells}) > 1 for name in names)
    panels = []
    for name in names:
        fixed = {other: value for other, value in centre.items() if other != name}
        series = [
            {float(cell.values[name]): value}
            for cell, values in zip(cells, accuracies, strict=True)
            if fixed.items() <= cell.values.items()
            for value in values
        ]
        band = Band.over_seeds(series)
        if len(band.x) > 1:
            is_logarithmic = band.x[0] > 0 and band.x[-1] / band.x[0] >= LOGARITHMIC_RATIO
            kept = float(centre[name]) if varied_count > 1 else None
            panels.append(SensitivityPanel(name, fixed, band, is_logarithmic, kept))
    return panels


def _accuracies(source: FigureSource, cell: CellRecord) -> list[float]:
    """Return the test accuracies of a cell's finished runs in the last epoch, in percent."""
    runs = source.finished_runs(cell).values()
    return [100 * run.metrics[TEST_LAST] for run in runs if TEST_LAST in run.metrics]


def _row(
    method: str, name: str, value: object, statistic: tuple[float, float, int], fixed: str
) -> CsvRow:
    mean, std, n = statistic
    return {
        "method": method,
        "hyperparameter": name,
        "value": value,
        "fixed": fixed,
        "mean": mean,
        "std": std,
        "n": n,
    }
