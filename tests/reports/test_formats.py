"""Files of tables: every format, hostile texts, and suffixes without a format."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reports.formats import (
    FORMATS,
    escape_latex,
    find_format,
    format_csv,
    format_html,
    format_html_fragment,
    format_json,
    format_latex,
    format_markdown,
)
from reports.table import NOT_CONVERGED, Entry, Row, Section, SeedAccuracy, Table, TableSource
from trainables.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = (
    r"</td><script>alert(1)</script> \input{/etc/passwd} \write18{id} $x_1^2$ 100 % #1 & {a} ~ "
    "[a](http://b) `c` *d* _e_ |f| \"g\" 'h' é ß Ħ ſ λ ± ⊖ † 漢 \N{GRINNING FACE} \x1b[31m \u202e"
)
RUNS = (SeedAccuracy(0, 92.5, "a" * 64), SeedAccuracy(7, 94.5, "b" * 64))
BEST = Entry("clean", "last epoch", bold=True, mean=93.5, std=1.41421, n=2, runs=RUNS)
TABLE = Table(
    source=TableSource(HOSTILE, "ab" * 32, "finished", HOSTILE, HOSTILE),
    title=HOSTILE,
    subtitle=HOSTILE,
    columns=(HOSTILE, "three"),
    sections=(
        Section(
            HOSTILE,
            (
                Row(
                    "nal",
                    HOSTILE,
                    HOSTILE,
                    "measured",
                    (
                        replace(BEST, remark=HOSTILE),
                        Entry("clean", "mean", (NOT_CONVERGED,), mean=10.0, n=1),
                    ),
                ),
                Row(
                    "",
                    "NAL",
                    "paper",
                    "quoted",
                    (Entry("clean", "last epoch", ("†",), mean=93.49), Entry()),
                ),
            ),
        ),
    ),
    notes=(HOSTILE, "second"),
)


class Tags(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("format_table", [format_html, format_html_fragment])
def test_html_shows_texts_as_they_are(format_table: Callable[[Table], str]) -> None:
    page = Tags(format_table(TABLE))
    assert "script" not in page.tags
    assert page.texts.count(HOSTILE) >= 4
    assert "93.50 ± 1.41" in page.texts


def test_a_fragment_leaves_the_page_around_it_as_it_is() -> None:
    assert not {"html", "head", "body", "style"} & set(Tags(format_html_fragment(TABLE)).tags)


def test_csv_has_one_number_in_a_row() -> None:
    rows = list(csv.DictReader(io.StringIO(format_csv(TABLE))))
    assert [(row["quantity"], row["seed"], row["value"], row["run"][:1]) for row in rows] == [
        ("mean", "", "93.5", ""),
        ("standard deviation", "", "1.41421", ""),
        ("run", "0", "92.5", "a"),
        ("run", "7", "94.5", "b"),
        ("mean", "", "10.0", ""),
        ("mean", "", "93.49", ""),
    ]
    assert {row["row"] for row in rows} == {HOSTILE, "NAL"}
    assert {row["sweep"] for row in rows} == {"ab" * 32}
    assert [row["marks"] for row in rows] == ["", "", "", "", NOT_CONVERGED, "†"]
    assert [row["source"] for row in rows] == ["measured"] * 5 + ["quoted"]


def test_json_has_texts_values_and_runs() -> None:
    values = json.loads(format_json(TABLE))
    assert values["sweep"] == "ab" * 32
    first, second = values["sections"][0]["rows"][0]["entries"]
    assert (first["text"], first["n"], first["runs"][1]["accuracy"]) == ("93.50 ± 1.41", 2, 94.5)
    assert (second["text"], second["mean"]) == (NOT_CONVERGED, 10.0)


def test_markdown_keeps_texts_in_their_cell() -> None:
    lines = format_markdown(TABLE).splitlines()
    table_lines = [line for line in lines if line.startswith("|")]
    assert {line.count("|") - line.count("\\|") for line in table_lines} == {4}
    assert "<script" not in format_markdown(TABLE).replace("\\<", "")
    assert "](" not in format_markdown(TABLE)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("~~a~~", r"\~\~a\~\~"),
        ("https://a.b www.a.b", r"https\://a.b www\.a.b"),
        ("a@b.c &lt; AT&T", r"a\@b.c \&lt; AT&T"),
        ("__init__ first_epoch", r"\_\_init\_\_ first_epoch"),
        ("[a]: b [0.1, 2]", r"[a]\: b [0.1, 2]"),
    ],
)
def test_markdown_shows_texts_as_they_are(text: str, source: str) -> None:
    note = format_markdown(replace(TABLE, notes=(text,))).splitlines()[-1]
    assert note == f"- {source}"


def test_latin_letters_that_latex_lacks_are_code_points() -> None:
    assert escape_latex("ĦħĸĿŀŉŦŧſ") == "".join(f"U+{ord(c):04X}" for c in "ĦħĸĿŀŉŦŧſ")
    assert escape_latex("éßŁž") == "éßŁž"


def test_latex_has_no_command_of_a_text() -> None:
    source = format_latex(TABLE)
    for command in (r"\input", r"\write"):
        assert command not in source.replace(r"\input it", "")
    assert escape_latex("50 % & $λ_1$") == r"50 \% \& \$$\lambda$\_1\$"
    assert escape_latex("train --seed 0") == "train -{}-seed 0"
    assert escape_latex("\x1b[31m\u202e漢") == "{[}31mU+6F22"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(format_latex(TABLE))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}"
        "\\begin{document}Text. \\input{table}\\end{document}"
    )
    for name in ("table", "paper"):
        process = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        assert process.returncode == 0, process.stdout[-2000:]
        assert (tmp_path / f"{name}.pdf").exists()


def test_the_suffix_chooses_the_format() -> None:
    for suffix, format_table in FORMATS.items():
        assert find_format(Path(f"table{suffix.upper()}")) is format_table
        assert format_table(TABLE).endswith("\n")
    with pytest.raises(UserError, match=r"no format has the suffix '.pdf'; .* or .json"):
        find_format(Path("table.pdf"))


def test_an_empty_table_is_written_in_every_format() -> None:
    empty = replace(TABLE, columns=(), sections=(), notes=())
    for format_table in FORMATS.values():
        assert format_table(empty)
