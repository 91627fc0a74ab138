"""The results of recorded sweeps for Python programs and notebooks: `from reports import Results`.

Everything is read from an MLflow store, and nothing is written but files that the caller names.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from reports.comparison import comparison_table
from reports.extra_columns import ExtraColumn
from reports.figures.report import open_source, write_figures
from reports.formats import find_format, format_html_fragment, format_latex, format_markdown
from reports.frames import (
    cells_frame,
    curves_frame,
    pairs_frame,
    runs_frame,
    sweeps_frame,
    trials_frame,
    verdicts_frame,
)
from reports.pairs import compare_rows
from reports.read import list_sweeps, read_curves, read_sweep
from reports.render import render_text
from reports.replication import find_replications
from reports.report import build_page, require_cells
from reports.spread import Spread
from reports.store import find_home_store, mask_password
from reports.words import format_count
from trainables.databases import database_path, with_installed_driver
from trainables.errors import HomeError, UserError, suggest
from trainables.run.metrics import TEST_ACCURACY
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.figures.catalogue import FigureFiles
    from reports.plan_record import PlanRecord
    from reports.read import RecordedRun
    from reports.table import Table

T = TypeVar("T")

DEFAULT_HOME = "runs"
"""Home folder that is read if no other place is named, as by the command line."""


class Results:
    """The sweeps that are recorded in a home folder or in an MLflow store."""

    def __init__(self, place: str | Path = DEFAULT_HOME, home: str | Path | None = None) -> None:
        """Choose where results are read from.

        Args:
            place: home folder of sweeps, or URI of an MLflow store, such as
                "http://127.0.0.1:5000".
            home: for a URI, the home folder with the data of figures 1 to 4; None for "runs".

        Raises:
            HomeError: if nothing is recorded there, or the home folder was copied or moved and its
                store still names the old place.
        """
        if isinstance(place, str) and "://" in place:
            self._uri = with_installed_driver(place)
            self._home = Path(home or DEFAULT_HOME).absolute()
            database = database_path(self._uri)
            if database is not None and not database.exists():
                raise HomeError(f"there is no MLflow store {database}: name another one")
        else:
            folder = Path(place).expanduser().absolute()
            self._uri, self._home = find_home_store(folder), Path(home or folder).absolute()

    def __repr__(self) -> str:
        return f"Results({mask_password(self._uri)!r})"

    def sweeps(self) -> pd.DataFrame:
        """Return one line for each recorded sweep, the latest first: study, sweep, started.

        Raises:
            ServiceError: if the server does not answer.
            HomeError: if the SQLite file cannot be used.
        """
        return sweeps_frame(list_sweeps(self._uri))

    def sweep(self, name: str | None = None) -> SweepResults:
        """Read a sweep.

        Args:
            name: name of a study, for its latest sweep, or beginning of a sweep's digest; None for
                the latest sweep of all.

        Raises:
            UserError: if no sweep or more than one matches.
            RecordError: if the plan of the sweep is missing or damaged.
            ServiceError: if the server does not answer.
            HomeError: if the SQLite file cannot be used.
        """
        plan, runs = read_sweep(self._uri, name)
        return SweepResults(self._uri, self._home, plan, tuple(runs))


@dataclass(frozen=True, slots=True, repr=False)
class SweepResults:
    """The plan and the recorded runs of a sweep, as they were when `Results.sweep` read them.

    Attributes:
        uri: URI of the MLflow store, from which learning curves are read.
        home: home folder, which holds the data of figures 1 to 4.
        plan: plan of the sweep.
        recorded: recorded runs that the plan names.
    """

    uri: str
    home: Path
    plan: PlanRecord
    recorded: Sequence[RecordedRun]

    def __repr__(self) -> str:
        plan = self.plan
        count = format_count(len(self.recorded), "recorded run")
        return f"<sweep {plan.sweep[:12]} of study {plan.study}, {plan.state}, {count}>"

    @property
    def cells(self) -> pd.DataFrame:
        """Mean, standard deviation and n of each cell, one line for each kind of test accuracy.

        Raises:
            RecordError: if the runs cannot be compared, for example since their labels differ.
        """
        return cells_frame(self.plan, self.recorded)

    @property
    def runs(self) -> pd.DataFrame:
        """All recorded runs of the sweep, one line for each, with the last value of each metric."""
        return runs_frame(self.plan, self.recorded)

    @property
    def trials(self) -> pd.DataFrame:
        """Trials of the searches, with held-out accuracy and searched values."""
        return trials_frame(self.plan, self.recorded)

    def curves(self, metric: str = TEST_ACCURACY) -> pd.DataFrame:
        """Read a metric of the runs of the table, one line for each run and epoch.

        Args:
            metric: name of a metric that `runs` has a column of.

        Raises:
            UserError: if no run of the table has recorded the metric.
            ServiceError: if the server does not answer.
            HomeError: if the SQLite file cannot be used.
        """
        digests = {digest for cell in self.plan.cells for digest in cell.digests}
        runs = [run for run in self.recorded if run.digest in digests]
        known_metrics = {name for run in runs for name in run.metrics}
        if runs and metric not in known_metrics:
            raise UserError(
                f"no run of the table has recorded '{metric}'; {suggest(metric, known_metrics)}"
            )
        return curves_frame(self.plan.cells, read_curves(self.uri, runs, metric))

    def table(self, spread: str = Spread.SD, columns: str | Sequence[str] = ()) -> SweepTable:
        """Make the comparison table.

        Args:
            spread: what is printed after ±: "sd", "se", "ci95" or "sd0".
            columns: further columns: "seconds", "hours", "memory", "values".

        Raises:
            UserError: if there is no such spread or column, or the sweep has no table yet.
            RecordError: if the runs cannot be compared.
        """
        names = [columns] if isinstance(columns, str) else columns
        measure = _find("spread", spread, {each.value: each for each in Spread})
        known_columns = {each.value: each for each in ExtraColumn}
        extra_columns = [_find("column", name, known_columns) for name in dict.fromkeys(names)]
        require_cells(self.plan)
        return SweepTable(comparison_table(self.plan, self.recorded, measure, extra_columns))

    def pairs(self) -> pd.DataFrame:
        """Return the difference of every two rows of the table, paired over the seeds.

        Raises:
            UserError: if the sweep has no table yet.
            RecordError: if the runs cannot be compared.
        """
        return pairs_frame(compare_rows(self.table().table))

    def verdicts(self) -> pd.DataFrame:
        """Return measured accuracies beside published ones, with a verdict on each.

        Raises:
            RecordError: if the runs cannot be compared.
        """
        return verdicts_frame(find_replications(self.plan, self.recorded))

    def figure(self, key: str | int, scenario: str | None = None) -> SweepFigure:
        """Make a figure.

        Args:
            key: "1", "2", "3", "4", "sensitivity", "curves", "response" or "ranks".
            scenario: name of the scenario of a figure about one; None for the first with label
                noise.

        Raises:
            UserError: if there is no such figure or scenario, or the sweep lacks the data.
        """
        from reports.figures.catalogue import FIGURES

        kind = _find("figure", str(key), FIGURES)
        source = open_source(self.uri, self.home, self.plan, self.recorded, scenario)
        return SweepFigure(kind.make(source))

    def page(self) -> str:
        """Return the page of the sweep as HTML, one file that needs no network.

        Raises:
            UserError: if the sweep has no table yet.
            RecordError: if the runs cannot be compared.
        """
        table = self.table().table
        return build_page(self.uri, self.home, self.plan, self.recorded, table)


@dataclass(frozen=True, slots=True, repr=False)
class SweepTable:
    """A comparison table, which a notebook shows as HTML and a terminal as text.

    Attributes:
        table: content of the table.
    """

    table: Table

    def __repr__(self) -> str:
        return render_text(self.table)

    def _repr_html_(self) -> str:
        return format_html_fragment(self.table)

    def _repr_markdown_(self) -> str:
        return format_markdown(self.table)

    def to_latex(self) -> str:
        r"""Return the table as a LaTeX document with booktabs, which a paper can `\input`."""
        return format_latex(self.table)

    def save(self, path: str | Path) -> None:
        """Write the table to a file, whose suffix chooses the format, as `report --out` does.

        Raises:
            UserError: if no format has the suffix, or the file cannot be written.
        """
        path = Path(path)
        write_atomically(path, find_format(path)(self.table))


@dataclass(frozen=True, slots=True, repr=False)
class SweepFigure:
    """A figure with its numbers, which a notebook shows as a picture.

    Attributes:
        figure: content of the files of the figure, and its caption.
    """

    figure: FigureFiles

    def __repr__(self) -> str:
        return f"<figure {self.figure.title}: {self.figure.caption}>"

    def _repr_svg_(self) -> str:
        return self.figure.svg

    @property
    def caption(self) -> str:
        """What the figure shows."""
        return self.figure.caption

    @property
    def data(self) -> pd.DataFrame:
        """The numbers of the figure, as in its CSV file."""
        csv_file = io.BytesIO(self.figure.files["csv"])
        return pd.read_csv(csv_file, keep_default_na=False, na_values=[""])

    def save(self, folder: str | Path) -> list[Path]:
        """Write the figure as SVG, PDF, PNG and CSV to a folder, which is created.

        Returns:
            Paths of the files.

        Raises:
            HomeError: if the folder or a file cannot be written.
        """
        folder = Path(folder)
        write_figures([self.figure], folder)
        return [folder / f"{self.figure.stem}.{suffix}" for suffix in self.figure.files]


def _find(noun: str, name: str, known: Mapping[str, T]) -> T:
    """Return the value of a name.

    Raises:
        UserError: if the name is unknown.
    """
    if name not in known:
        raise UserError(f"there is no {noun} '{name}'; {suggest(name, known)}")
    return known[name]
