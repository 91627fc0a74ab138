from __future__ import annotations

import pytest

from reports.render import render_markdown, render_text
from reports.table import Entry, Row, Section, Table

TABLE = Table(
    title="a study",
    subtitle="of something",
    columns=("one | two", "three"),
    sections=(
        Section(
            "",
            (
                Row("NAL", "tuned (3 trials)", "measured", (Entry("93.49 ± 0.07", bold=True),) * 2),
                Row("a|b", "paper", "quoted", (Entry("1.00", "1 of 2 seeds"), Entry())),
            ),
        ),
    ),
    notes=("first", "second"),
)


def test_markdown_escapes_names() -> None:
    lines = render_markdown(TABLE).splitlines()
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
    empty = Table("a study", "of something", (), (), ("note",))
    assert render_text(empty) == "a study\nof something\n\n- note\n"
