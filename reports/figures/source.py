"""The records that figures are made from: plan, recorded runs, their histories and diagnostics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.words import format_count, format_values
from trainables.diagnostics.store import load_diagnostics
from trainables.errors import UserError, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from reports.plan_record import CellRecord, PlanRecord
    from reports.read import RecordedRun
    from trainables.diagnostics.store import Diagnostics

NAL, CROSS_ENTROPY = "nal", "ce"
"""Names of the two methods that the figures of the NAL paper compare."""

CLEAN = "clean"
"""Name of the scenario without label noise."""

History = dict[int, float]
"""Values of a metric by epoch."""


class MissingDataError(UserError):
    """A sweep has not recorded the data of a figure."""


@dataclass(frozen=True, slots=True)
class FigureSource:
    """The records of a sweep, as figures read them.

    Attributes:
        plan: plan of the sweep.
        runs: recorded runs by digest.
        home: home folder, whose `runs/<digest>/diagnostics.npz` hold values of single samples.
        read_histories: function that returns the history of a metric in each of several runs.
        scenario: name of the scenario that the user has chosen; None for the default.
    """

    plan: PlanRecord
    runs: Mapping[str, RecordedRun]
    home: Path
    read_histories: Callable[[Sequence[RecordedRun], str], list[History]]
    scenario: str | None = None

    def __post_init__(self) -> None:
        if self.scenario is not None and self.scenario not in self.all_scenarios:
            raise UserError(
                f"scenario {self.scenario}: sweep {self.plan.sweep[:12]} has no such scenario; "
                f"{suggest(self.scenario, self.all_scenarios)}"
            )

    @property
    def all_scenarios(self) -> list[str]:
        """Names of the scenarios of the sweep, in the order of the plan."""
        return list(dict.fromkeys(cell.scenario for cell in self.plan.cells))

    @property
    def scenarios(self) -> list[str]:
        """Names of the scenarios of a figure with one panel for each of them."""
        return self.all_scenarios if self.scenario is None else [self.scenario]

    @property
    def single_scenario(self) -> str:
        """Name of the scenario of a figure about one of them: the first one with label noise."""
        noisy_scenarios = [name for name in self.scenarios if name != CLEAN]
        return (noisy_scenarios or self.scenarios)[0]

    def scenario_title(self, scenario: str) -> str:
        """Return the title of a scenario."""
        return next(cell.scenario_title for cell in self.plan.cells if cell.scenario == scenario)

    def find_cell(self, method: str, scenario: str) -> CellRecord | None:
        """Return the tuned cell of a method, or else its first one; None if it has no cell."""
        cells = [
            cell
            for cell in self.plan.cells
            if (cell.method, cell.scenario) == (method, scenario) and cell.origin != "varied"
        ]
        return next((cell for cell in cells if cell.is_tuned), cells[0] if cells else None)

    def require_cell(self, method: str, scenario: str) -> CellRecord:
        """Return the tuned cell of a method, or else its first one.

        Raises:
            MissingDataError: if the method has no cell with chosen or fixed values.
        """
        cell = self.find_cell(method, scenario)
        if cell is None:
            raise MissingDataError(
                f"study '{self.plan.study}' has no row of '{method}' on {scenario} whose values "
                "are fixed or chosen by a search: sweep a study that has one"
            )
        return cell

    def finished_runs(self, cell: CellRecord) -> dict[int, RecordedRun]:
        """Return the finished runs of a cell by seed; empty if none has finished."""
        return {
            seed: self.runs[digest]
            for seed, digest in zip(cell.seeds, cell.digests, strict=True)
            if digest in self.runs and self.runs[digest].status == "finished"
        }

    def load_diagnostics(self, cell: CellRecord) -> list[Diagnostics]:
        """Read the diagnostics of the finished runs of a cell, of those that have any.

        Raises:
            MissingDataError: if no run has diagnostics, with the reason.
            RecordError: if a file of diagnostics is damaged.
        """
        runs = self.finished_runs(cell)
        label = f"{cell.method} on {cell.scenario}"
        if not runs:
            raise MissingDataError(
                f"no run of {label} has finished: type the sweep's command again to continue it"
            )
        folders = [self.home / "runs" / run.digest for run in runs.values()]
        present_folders = [folder for folder in folders if folder.is_dir()]
        if not present_folders:
            raise MissingDataError(
                f"the home folder lacks the {format_count(len(runs), 'run')} of {label}, whose "
                "diagnostics.npz holds the data: choose the home folder of the sweep"
            )
        found = [load_diagnostics(folder) for folder in present_folders]
        diagnostics = [item for item in found if item is not None]
        if not diagnostics:
            raise MissingDataError(
                f"the runs of {label} have no diagnostics: they were trained with "
                "diagnostics.every=0; set it to null in the study, and sweep again"
            )
        return diagnostics


def cell_label(cell: CellRecord) -> str:
    """Return the title of a cell's method with its values, such as "NAL, λ = 0.5, α = 0.9"."""
    return ", ".join(filter(None, [cell.method_title, format_values(cell.values)]))


def file_stem(text: str) -> str:
    """Return a text as a part of a file name: other characters than letters become "-"."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "sweep"
