from __future__ import annotations

import pytest

from reports.formats import format_markdown
from reports.render import render_text
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


def test_text_of_no_sections_has_title_and_notes() -> None:
    empty = Table(SOURCE, "a study", "of something", (), (), ("note",))
    assert render_text(empty) == "a study\nof something\n\n- note\n"
