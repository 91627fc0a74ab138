"""The command `report`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan, make_result
from stores import fresh_store

from orchestrator.__main__ import main
from orchestrator.tracking.tracker import Tracker
from search_spaces.schema import Phase

if TYPE_CHECKING:
    from pathlib import Path


def test_a_study_is_named_by_its_name_or_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = fresh_store(tmp_path)
    (tmp_path / "mine.yaml").write_text("extends: digits\ntitle: mine\n")
    for study, digit in (("mine", "a"), ("other", "b")):
        plan = make_plan([make_cell("ce", seeds=(0,))], study=study, sweep=64 * digit)
        tracker = Tracker(uri, tmp_path / "artifacts", study)
        tracker.start_sweep(plan, "")
        result = make_result(cell_specs("ce", "symmetric-0.4", (0,), {})[0])
        tracker.record(result, Phase.CONFIRM, plan.cells[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for sweep in ("mine", "mine.yaml", str(tmp_path / "mine.yaml"), "aaaa"):
        monkeypatch.setattr(sys, "argv", ["orchestrator", "report", sweep, "--json", "--home", "."])
        with pytest.raises(SystemExit) as end:
            main()
        output = capsys.readouterr()
        assert end.value.code == 0, output.err
        assert json.loads(output.out)["study"] == "mine"
    monkeypatch.setattr(sys, "argv", ["orchestrator", "report", "mime.yaml", "--home", "."])
    with pytest.raises(SystemExit):
        main()
    assert "the study file 'mime.yaml' does not exist" in capsys.readouterr().err
