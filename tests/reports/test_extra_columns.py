"""Columns on request: their numbers, headings, notes and bad names."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan, make_result
from recorded import recorded_runs

from reports.comparison import comparison_table
from reports.extra_columns import ExtraColumn, parse_extra_columns
from reports.formats import FORMATS, format_csv
from trainables.errors import UserError

if TYPE_CHECKING:
    from reports.table import Table

ALL = tuple(ExtraColumn)


def table_of(scenarios: tuple[str, ...] = ("symmetric-0.4",), device: str = "cpu") -> Table:
    cells = [make_cell(name, scenario) for scenario in scenarios for name in ("nal", "ce")]
    results = [
        make_result(spec, device=device, seconds=[36.0 * (1 + spec.seeds.init)] * 6)
        for cell in cells
        for spec in cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    ]
    runs = [replace(run, epochs=100) for run in recorded_runs(results)]
    return comparison_table(make_plan(cells), runs, extra_columns=ALL)


def test_one_scenario_has_further_columns() -> None:
    table = table_of()
    assert table.columns[-4:] == (
        "seconds per epoch",
        "CPU-hours per run",
        "peak memory, MB",
        "values",
    )
    nal, ce = table.sections[0].rows
    # Seconds per epoch are 36, 72 and 108; 100 epochs of them are 1, 2 and 3 hours.
    assert [entry.text for entry in nal.entries[-4:]] == ["72", "2", "350", "λ = 0.5, α = 0.9"]
    assert [entry.text for entry in ce.entries[-4:]] == ["72", "2", "350", "–"]
    assert not any(entry.bold for row in (nal, ce) for entry in row.entries[-4:])
    assert any(note.startswith("Times are wall times of one run") for note in table.notes)


def test_several_scenarios_have_further_sections() -> None:
    table = table_of(("symmetric-0.2", "symmetric-0.4"))
    assert [section.title for section in table.sections[-4:]] == [
        "seconds per epoch",
        "CPU-hours per run",
        "peak memory, MB",
        "values",
    ]
    assert [entry.text for entry in table.sections[-3].rows[0].entries] == ["2", "2"]


def test_only_hours_on_gpus_are_gpu_hours() -> None:
    assert "GPU-hours per run" in table_of(device="cuda: NVIDIA A100").columns
    mixed = table_of(device="cuda: NVIDIA A100, then cpu")
    assert "hours per run" in mixed.columns
    assert mixed.sections[0].rows[0].entries[-3].remark == "on the CPU"


def test_csv_has_one_number_in_a_row() -> None:
    lines = list(csv.DictReader(io.StringIO(format_csv(table_of()))))
    hours = [line for line in lines if line["accuracy"] == "CPU-hours per run"]
    nal = [line for line in hours if line["method"] == "nal"]
    assert [(each["quantity"], each["value"], each["unit"]) for each in nal] == [
        ("mean", "2.0", "h"),
        ("standard deviation", "1.0", "h"),
        ("run", "1.0", "h"),
        ("run", "2.0", "h"),
        ("run", "3.0", "h"),
    ]
    values = [line for line in lines if line["accuracy"] == "values"]
    assert [(each["quantity"], each["value"]) for each in values if each["method"] == "nal"] == [
        ("lambda", "0.5"),
        ("alpha", "0.9"),
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_has_them(suffix: str) -> None:
    text = FORMATS[suffix](table_of())
    assert "CPU-hours per" in text
    assert "350" in text


def test_names_are_checked() -> None:
    assert parse_extra_columns("values, seconds,values") == (
        ExtraColumn.VALUES,
        ExtraColumn.SECONDS,
    )
    assert parse_extra_columns("") == ()
    with pytest.raises(UserError, match=r"no column 'time'; name one or more of seconds, hours"):
        parse_extra_columns("time")
