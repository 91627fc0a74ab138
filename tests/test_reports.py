"""All steps of a report: a small sweep is recorded in a real store, read back and rendered."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan, make_result, make_spec
from rich.console import Console
from stores import fresh_store

from orchestrator.tracking.tracker import Tracker
from reports.comparison import comparison_table
from reports.formats import format_markdown, table_values
from reports.plan_record import CandidateRecord, DatasetRecord, ReferenceRecord, TuningRecord
from reports.read import read_sweep
from reports.render import render_terminal, render_text
from search_spaces.schema import Phase
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from reports.table import Table

GOLDEN = Path(__file__).parent / "golden"
TUNED: dict[str, bool | int | float | str] = {"lambda": 1.2345, "alpha": 0.87}
PAPER: dict[str, bool | int | float | str] = {"lambda": 0.5, "alpha": 0.9}
SCENARIOS = ("symmetric-0.2", "symmetric-0.4")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("store")
    uri = fresh_store(folder)
    cells = [
        cell
        for scenario in SCENARIOS
        for cell in (
            make_cell("nal", scenario, values=TUNED, origin="tuned", trials=4, source="search"),
            make_cell("nal", scenario, values=PAPER, origin="reference", source="paper, section 5"),
            make_cell("ce", scenario),
        )
    ]
    trials = [
        make_spec(seed=1000, values={"lambda": v, "alpha": 0.8}) for v in (0.5, 1.0, 2.0, 4.0)
    ]
    search = TuningRecord(
        method="nal",
        method_title="NAL",
        scenario="symmetric-0.4",
        serves=list(SCENARIOS),
        space={"lambda": Space(0.05, 20, log=True), "alpha": Space(0.5, 0.99)},
        trials=4,
        digests=[spec.digest for spec in trials],
        reference=ReferenceRecord(PAPER, "paper, section 5"),
        candidates=[
            CandidateRecord(TUNED, "search", ["a", "b"]),
            CandidateRecord(PAPER, "reference", ["c", "d"]),
        ],
        chosen=TUNED,
    )
    plan = make_plan(
        cells,
        title="CIFAR-10, symmetric noise",
        dataset=DatasetRecord("cifar10", "CIFAR-10", "d" * 64, 10, 50_000, 10_000),
        backbone="ResNet-34 (32×32)",
        epochs=500,
        searches=[search],
        deviations=["the public code's schedule, not Algorithm 1's."],
    )
    writer = Tracker(uri, folder / "artifacts", "cifar10")
    writer.start_sweep(plan, "title: CIFAR-10\n")
    for spec in trials:
        writer.record(make_result(spec), Phase.SEARCH)
    for cell in cells:
        specs = cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
        if (cell.method, cell.scenario) == ("ce", "symmetric-0.2"):
            specs.pop()
        for spec in specs:
            seed = spec.seeds.init
            diverges = cell.origin == "reference" and seed == 1 and cell.scenario == "symmetric-0.4"
            accuracy = {"tuned": 0.93, "reference": 0.92, "fixed": 0.81}[cell.origin] + 0.005 * seed
            result = make_result(spec, accuracy=accuracy, diverged_at=2 if diverges else None)
            writer.record(result, Phase.CONFIRM, cell)
    return comparison_table(*read_sweep(uri))


def test_markdown(table: Table) -> None:
    assert format_markdown(table) == (GOLDEN / "comparison.md").read_text()


def test_plain_text_of_100_columns(table: Table) -> None:
    plain_text = render_text(table, width=100)
    assert plain_text == (GOLDEN / "comparison.txt").read_text()
    assert max(map(len, plain_text.splitlines())) <= 100


def test_the_terminal_shows_bold_and_no_stars(table: Table) -> None:
    console = Console(width=100, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(render_terminal(table, console.width))
    output = captured.get()
    assert re.search(r"\x1b\[1m *93\.50 ± 0\.50\x1b\[0m", output)
    assert "*93.50" not in output


def test_json_values(table: Table) -> None:
    values = json.loads(json.dumps(table_values(table)))
    entry = values["sections"][0]["rows"][0]["entries"][1]
    assert entry["mean"] == pytest.approx(93.5)
    assert entry["std"] == pytest.approx(0.5)
    assert (entry["n"], entry["bold"]) == (3, True)


def test_reports_import_neither_ray_nor_torch() -> None:
    code = (
        "import sys, reports.comparison, reports.read, reports.render, mlflow; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
