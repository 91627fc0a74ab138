from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from reports.formats import format_markdown
from reports.render import render_terminal, render_text
from reports.table import Entry, Row, Section, Table, TableSource

BEST = Entry("clean", "last epoch", bold=True, mean=93.49, std=0.07)
INCOMPLETE = Entry("clean", "last epoch", remark="1 of 2 seeds", mean=1.0)
SOURCE = TableSource("mine", "ab" * 32, "finished", "digits", "MLP")
TABLE = Table(
    source=SOURCE,
    title="a study",
    subtitle="of something",
    columns=("one | two", "three"),
    sections=(
        Section(
            "",
            (
                Row("nal", "NAL", "tuned (3 trials)", "measured", (BEST, BEST)),
                Row("", "a|b", "paper", "quoted", (INCOMPLETE, Entry())),
            ),
        ),
    ),
    notes=("first", "second"),
)

TABLE_OF_LONG_NAMES = replace(
    TABLE,
    columns=tuple(f"pmd-1-0.35+{number}-in-twenty-words" for number in range(3)),
    sections=(
        Section(
            "",
            (
                Row(
                    "mine",
                    "MyMethod" + 9 * "WithALongName",
                    "fixed (a_file_with_a_long_name_and_without_blanks.py, SHA-256 0123456789ab)",
                    "measured",
                    (BEST, BEST, BEST),
                ),
            ),
        ),
    ),
)


def test_markdown_escapes_names() -> None:
    lines = format_markdown(TABLE).splitlines()
    assert lines[4:8] == [
        "| method | one \\| two | three |",
        "| --- | ---: | ---: |",
        "| NAL *tuned (3 trials)* | **93.49 ± 0.07** | **93.49 ± 0.07** |",
        "| a\\|b *paper* | 1.00 (1 of 2 seeds) |  |",
    ]
    assert lines[-2:] == ["- first", "- second"]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_text_fits_its_width(width: int) -> None:
    shown = render_text(TABLE, width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert shown.count("*93.49 ± 0.07") == 2


@pytest.mark.parametrize(
    ("width", "names_width", "widest"),
    [(60, 42, 58), (80, 26, 80), (100, 26, 80), (10_000, 26, 80)],
)
def test_long_names_are_folded_and_widen_no_table(
    width: int, names_width: int, widest: int
) -> None:
    lines = render_text(TABLE_OF_LONG_NAMES, width=width).splitlines()
    assert max(map(len, lines)) == widest
    shown = "".join("".join(line[:names_width].split()) for line in lines)
    assert TABLE_OF_LONG_NAMES.sections[0].rows[0].name in shown
    assert TABLE_OF_LONG_NAMES.sections[0].rows[0].marker.replace(" ", "") in shown
    assert "…" not in "".join(lines)


@pytest.mark.parametrize(("width", "widest"), [(80, 80), (90, 90), (120, 94)])
def test_names_are_as_wide_as_a_terminal_allows(width: int, widest: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(render_terminal(TABLE_OF_LONG_NAMES, width))
    assert max(len(line.rstrip()) for line in capture.get().splitlines()) == widest


def test_text_of_no_sections_has_title_and_notes() -> None:
    empty = Table(SOURCE, "a study", "of something", (), (), ("note",))
    assert render_text(empty) == "a study\nof something\n\n- note\n"


def test_columns_without_room_are_shown_below() -> None:
    names = tuple(f"reading {number}" for number in range(7))
    entries = tuple(Entry("clean", name, mean=90.0 + n, std=0.5) for n, name in enumerate(names))
    row = Row("nal", "NAL", "fixed", "measured", entries)
    wide = Table(SOURCE, "a study", "of something", names, (Section("", (row,)),), ())
    lines = render_text(wide, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert [" ".join(line.split()) for line in lines if "reading" in line] == [
        "reading 0 reading 1 reading 2",
        "reading 3 reading 4 reading 5",
        "reading 6",
    ]
    assert [line.count("±") for line in lines if line.startswith("NAL")] == [3, 3, 1]
