from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_cell
from figure_data import make_source, paper_source

from reports.figures.report import FigureRequest, make_figures, write_figures
from reports.figures.source import MissingDataError
from trainables.errors import HomeError, UserError


def test_figures_without_data_are_left_out_with_the_reason(tmp_path: Path) -> None:
    source = replace(paper_source(tmp_path), home=tmp_path / "elsewhere")
    figures, left_out = make_figures(source)
    assert [figure.key for figure in figures] == ["curves"]
    assert list(left_out) == ["1", "2", "3", "4", "sensitivity", "response", "ranks"]
    assert "choose the home folder of the sweep" in left_out["1"]

    folder = tmp_path / "new" / "figures"
    write_figures(figures, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        f"digits-figure-curves.{suffix}" for suffix in ("csv", "pdf", "png", "svg")
    ]


def test_a_figure_that_is_named_has_to_have_its_data(tmp_path: Path) -> None:
    source = make_source([make_cell("ce")], tmp_path)
    with pytest.raises(MissingDataError, match="figure sensitivity: study 'digits' varies no"):
        make_figures(source, ["sensitivity"])
    with pytest.raises(UserError, match="figure 7: there is no such figure; known: 1, 2, 3, 4"):
        make_figures(source, ["7"])
    with pytest.raises(MissingDataError, match="no figure of this sweep has its data: 1: "):
        make_figures(source)


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "figures"
    path.write_text("")
    with pytest.raises(HomeError, match=r"cannot write figures to .*: File exists"):
        write_figures([], path)


def test_flags_of_a_command_line() -> None:
    assert FigureRequest.from_flags((), None, None) is None
    assert FigureRequest.from_flags(["1"], None, None) == FigureRequest(["1"], Path())
    assert FigureRequest.from_flags((), Path("x"), "clean") == FigureRequest((), Path("x"), "clean")
    with pytest.raises(UserError, match="add --figure or --figures"):
        FigureRequest.from_flags((), None, "clean")
