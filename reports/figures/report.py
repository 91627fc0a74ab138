"""Figures of a sweep as files, for the command `report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.figures.source import FigureSource, MissingDataError
from reports.figures.style import SUFFIXES
from reports.read import read_curves
from trainables.errors import HomeError, UserError, suggest
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.figures.catalogue import FigureFiles
    from reports.plan_record import PlanRecord
    from reports.read import RecordedRun


@dataclass(frozen=True, slots=True)
class FigureRequest:
    """The figures that a user wants.

    Attributes:
        keys: keys of the figures; empty for all that the sweep has the data of.
        folder: folder of the files.
        scenario: scenario of figures about one scenario; None for the first with label noise.
    """

    keys: Sequence[str]
    folder: Path
    scenario: str | None = None

    @classmethod
    def from_flags(
        cls, keys: Sequence[str], folder: Path | None, scenario: str | None
    ) -> FigureRequest | None:
        """Return the request of a command line; None if it asks for no figures.

        Raises:
            UserError: if there is a scenario, but nothing that it could apply to.
        """
        if keys or folder is not None:
            return cls(keys, folder or Path(), scenario)
        if scenario is not None:
            raise UserError("--scenario chooses the scenario of figures: add --figure or --figures")
        return None

    def fulfil(
        self, uri: str, home: Path, plan: PlanRecord, runs: Sequence[RecordedRun]
    ) -> WrittenFigures:
        """Make the figures of a sweep, and write them.

        Args:
            uri: URI of the MLflow store.
            home: home folder.
            plan: plan of the sweep.
            runs: recorded runs of the sweep.

        Raises:
            UserError: if the sweep has no such scenario, or there is no such figure.
            MissingDataError: if a figure that is named lacks its data, or all figures do.
            HomeError: if a file cannot be written.
        """
        source = open_source(uri, home, plan, runs, self.scenario)
        figures, left_out = make_figures(source, self.keys)
        write_figures(figures, self.folder)
        return WrittenFigures(self.folder, figures, left_out)


@dataclass(frozen=True, slots=True)
class WrittenFigures:
    """The figures that were made of a sweep and written.

    Attributes:
        folder: folder of the files.
        figures: figures, in the order of the request.
        left_out: reason why a figure was not made, by key; empty if figures were named.
    """

    folder: Path
    figures: Sequence[FigureFiles]
    left_out: Mapping[str, str]

    @property
    def stems(self) -> list[str]:
        """Paths of the files of each figure, without suffix."""
        return [str(self.folder / figure.stem) for figure in self.figures]

    @property
    def paths(self) -> list[Path]:
        """Paths of all files."""
        return [
            self.folder / f"{figure.stem}.{suffix}"
            for figure in self.figures
            for suffix in figure.files
        ]

    def values(self) -> dict[str, Any]:
        """Return the figures as values that can be written as JSON."""
        return {
            "files": {
                figure.key: [f"{stem}.{suffix}" for suffix in figure.files]
                for figure, stem in zip(self.figures, self.stems, strict=True)
            },
            "captions": {figure.key: figure.caption for figure in self.figures},
            "left_out": dict(self.left_out),
        }


def open_source(
    uri: str,
    home: Path,
    plan: PlanRecord,
    runs: Sequence[RecordedRun],
    scenario: str | None = None,
) -> FigureSource:
    """Return the records of a sweep as figures read them.

    Args:
        uri: URI of the MLflow store, from which histories of metrics are read.
        home: home folder, whose runs hold the diagnostics.
        plan: plan of the sweep.
        runs: recorded runs of the sweep.
        scenario: scenario of figures about one scenario; None for the first with label noise.

    Raises:
        UserError: if the sweep has no such scenario.
    """

    def read_histories(some_runs: Sequence[RecordedRun], metric: str) -> list[dict[int, float]]:
        curves = read_curves(uri, some_runs, metric)
        return [dict(curves[run.digest]) for run in some_runs]

    return FigureSource(
        plan=plan,
        runs={run.digest: run for run in runs},
        home=home,
        read_histories=read_histories,
        scenario=scenario,
    )


def make_figures(
    source: FigureSource, keys: Sequence[str] = (), suffixes: Sequence[str] = SUFFIXES
) -> tuple[list[FigureFiles], dict[str, str]]:
    """Make figures of a sweep.

    Args:
        source: records of the sweep.
        keys: keys of the figures; empty for all that the sweep has the data of.
        suffixes: kinds of picture files, some of `style.SUFFIXES`.

    Returns:
        The figures, and the reason why a figure was not made by key.

    Raises:
        UserError: if a key is unknown.
        MissingDataError: if a figure that is named lacks its data, or all figures do.
    """
    from reports.figures.catalogue import FIGURES

    for key in keys:
        if key not in FIGURES:
            raise UserError(f"figure {key}: there is no such figure; {suggest(key, FIGURES)}")
    figures, left_out = [], {}
    for key in dict.fromkeys(keys or FIGURES):
        try:
            figures.append(FIGURES[key].make(source, suffixes))
        except MissingDataError as error:
            if keys:
                raise MissingDataError(f"figure {key}: {error}") from error
            left_out[key] = str(error)
    if not figures:
        reasons = "; ".join(f"{key}: {reason}" for key, reason in left_out.items())
        raise MissingDataError(f"no figure of this sweep has its data: {reasons}")
    return figures, left_out


def write_figures(figures: Sequence[FigureFiles], folder: Path) -> None:
    """Write the files of figures to a folder, which is created.

    Raises:
        HomeError: if the folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"cannot write figures to {folder}: {error.strerror}") from error
    for figure in figures:
        for suffix, content in figure.files.items():
            write_atomically(folder / f"{figure.stem}.{suffix}", content)
