"""Whole figures: they are drawn, deterministic, and their files can be opened."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from figure_data import paper_source
from PIL import Image

from reports.figures.catalogue import FIGURES, to_csv

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "key", ["curves", *(pytest.param(key, marks=pytest.mark.slow) for key in "1234")]
)
def test_files_are_the_same_each_time_and_can_be_opened(tmp_path: Path, key: str) -> None:
    source = paper_source(tmp_path)
    figure = FIGURES[key].make(source)
    assert figure.files == FIGURES[key].make(source).files
    assert figure.stem == f"digits-figure-{key}"
    assert list(figure.files) == ["svg", "pdf", "png", "csv"]
    assert ET.fromstring(figure.svg).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314
    pdf = figure.files["pdf"]
    assert pdf.startswith(b"%PDF-")
    assert b"/CIDFontType2" in pdf  # fonts of type 42
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    with Image.open(io.BytesIO(figure.files["png"])) as picture:
        assert picture.width == 5.5 * 300
    rows = list(csv.DictReader(io.StringIO(figure.files["csv"].decode())))
    assert len(rows) >= 4


def test_text_of_a_study_is_no_formula_and_no_markup(tmp_path: Path) -> None:
    source = paper_source(tmp_path)
    for cell in source.plan.cells:
        object.__setattr__(cell, "method_title", "$\\frac{ <b> & \x1b[31m 网络 $x$")
    figure = FIGURES["curves"].make(source)
    assert ET.fromstring(figure.svg) is not None  # noqa: S314
    assert "\x1b" not in figure.caption
    assert b"\x1b" not in figure.files["csv"]


def test_a_nan_is_an_empty_cell() -> None:
    assert to_csv([{"a": float("nan"), "b": 0.1}, {"a": "x,\x00\n", "b": 2}]) == (
        b'a,b\n,0.1\n"x, ",2\n'
    )
