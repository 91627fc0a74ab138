from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.table_layout import read_layout
from reports.joined import JoinedLayout
from trainables.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = """\
title: mine
metric: last epoch
sweeps:
  - {sweep: digits}
  - {sweep: 1f3c, home: ../other}
rows: [ce, nal]
columns: [symmetric-0.4]
pool: [devices]
"""


def test_a_layout_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(LAYOUT)
    layout = read_layout(path)
    assert [(sweep.sweep, sweep.home) for sweep in layout.sweeps] == [
        ("digits", ""),
        ("1f3c", "../other"),
    ]
    assert layout.joined == JoinedLayout(
        title="mine",
        metric="last epoch",
        methods=("ce", "nal"),
        scenarios=("symmetric-0.4",),
        pool=frozenset({"devices"}),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: x\nsweeps: []\n", ":2: sweeps: must have at least 1 item"),
        ("title: x\n", ":1: sweeps: is missing"),
        ("sweps: [a]\n", ":1: unknown key 'sweps': did you mean 'sweeps'"),
        ("sweeps:\n  - {sweep: a}\n  - sweep: b\n    hom: c\n", ":4: unknown key 'sweeps.1.hom'"),
        ("sweeps: [{sweep: a, home: b, tracking: c}]\n", ":1: sweeps.0: home and tracking exclude"),
        (
            "sweeps: [{sweep: a}]\npool: [scenarios]\n",
            ":2: pool.0: must be 'devices', 'recipes' or",
        ),
        ("sweeps: [{sweep: a}]\nrows: ce\n", ":2: rows: "),
        ("a: [\n", ":2: not valid YAML"),
        ("", ":1: must be a mapping with the key sweeps"),
    ],
)
def test_an_invalid_layout_is_reported_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_layout(path)
    assert str(error.value).startswith(f"{path}{message}")
    assert "\n" not in str(error.value)


def test_a_missing_layout_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_layout(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sweeps: {sweep: digits}", "sweeps: must be a list"),
        ("sweeps: [digits]", "sweeps.0: must be a mapping"),
    ],
)
def test_errors_speak_of_lists_and_mappings(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "layout.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_layout(path)
    assert str(error.value) == f"{path}:1: {message}"
