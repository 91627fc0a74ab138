"""The command `report` for tables that join several sweeps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from factories import make_cell, make_plan
from stores import fresh_store

from orchestrator.commands import joined_report
from orchestrator.flags import Locations
from orchestrator.tracking.planned_cells import plan_study
from orchestrator.tracking.tracker import Tracker
from reports.paper import STUDIES_BY_TABLE
from trainables.errors import HomeError, UserError

if TYPE_CHECKING:
    from pathlib import Path


def record_sweep(folder: Path, study: str, sweep: str) -> None:
    """Record a sweep of cross entropy, none of whose runs has ended, in the store of a folder."""
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts", study)
    tracker.start_sweep(make_plan([make_cell("ce", seeds=(0, 1))], sweep=sweep, study=study), "")


def test_shipped_studies_plan_the_methods_of_their_table() -> None:
    study = plan_study("cifar10-ablation")
    assert study.name in STUDIES_BY_TABLE[6]
    assert (study.dataset, study.backbone) == ("CIFAR-10", "ResNet-34 (32×32)")
    assert len(study.cells) == 4 * 3
    assert {tuple(cell.seeds) for cell in study.cells} == {(0, 1, 2)}


def test_a_tuned_method_is_planned_with_and_without_the_published_values() -> None:
    cells = [cell for cell in plan_study("animal10n").cells if cell.method == "nal"]
    assert [(cell.origin, bool(cell.values)) for cell in cells] == [
        ("tuned", False),
        ("reference", True),
    ]


def test_a_papers_table_needs_no_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locations = Locations(home_dir=tmp_path / "none")
    joined_report.print_paper_table(3, (), locations, (), as_json=True)
    values = json.loads(capsys.readouterr().out)
    assert values["state"] == "not recorded"
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="no run is recorded under --home"):
        joined_report.print_paper_table(3, ("animal10n",), locations, (), as_json=True)


@pytest.mark.slow
def test_a_papers_table_takes_the_latest_sweep_or_the_named_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = fresh_store(tmp_path)
    for study, digit in (("cifar10", "a"), ("cifar10", "b"), ("mine", "c")):
        record_sweep(tmp_path, study, 64 * digit)
    locations = Locations(home_dir=tmp_path, tracking_uri=uri)
    for sweeps, sweep in (((), 64 * "b"), (("aaaa",), 64 * "a")):
        joined_report.print_paper_table(1, sweeps, locations, (), as_json=True)
        values = json.loads(capsys.readouterr().out)
        assert [source["sweep"] for source in values["sources"]] == [sweep, ""]
    with pytest.raises(UserError, match="is of study 'mine', but Table 1 is made by cifar10 and"):
        joined_report.print_paper_table(1, ("cccc",), locations, (), as_json=True)
    with pytest.raises(UserError, match="no study or sweep 'dddd' is recorded"):
        joined_report.print_paper_table(1, ("dddd",), locations, (), as_json=True)

    joined_report.print_joined_table(None, ("aaaa", "mine"), locations, (), as_json=True)
    values = json.loads(capsys.readouterr().out)
    assert [source["sweep"] for source in values["sources"]] == [64 * "a", 64 * "c"]
    assert values["sections"][0]["rows"][0]["entries"][0]["remark"] == "0 of 2 seeds"
    with pytest.raises(UserError, match="sweep bbbbbbbbbbbb of 'cifar10' is named twice"):
        joined_report.print_joined_table(None, ("cifar10", "bbbb"), locations, (), as_json=True)
    layout = tmp_path / "table.yaml"
    layout.write_text("sweeps: [{sweep: mine}, {sweep: cifar10, home: empty}]\n")
    with pytest.raises(
        HomeError, match=r"^home 'empty' of the layout: no run is recorded"
    ) as error:
        joined_report.print_joined_table(layout, (), locations, (), as_json=True)
    assert "--home" not in str(error.value) + error.value.flag_advice
    with pytest.raises(UserError, match="--layout names the sweeps"):
        joined_report.print_joined_table(layout, ("mine",), locations, (), as_json=True)


def test_bad_files_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    locations = Locations(home_dir=tmp_path)
    with pytest.raises(UserError, match=r"^--out .*a\.doc: no format has the suffix '\.doc'"):
        joined_report.print_paper_table(3, (), locations, (tmp_path / "a.doc",), as_json=False)
    with pytest.raises(UserError, match="--paper does not go with --table"):
        joined_report.check_flags("--table", {"--pairs": False, "--paper": True})
