"""The commands `studies` and `show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orchestrator.commands.studies import list_studies, show
from orchestrator.flags import StudyFlags
from search_spaces.files import shipped_study_titles
from search_spaces.loader import load_study

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_studies_lists_names_and_titles(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_studies(as_json=False) == 0
    text = capsys.readouterr().out
    for name, title in shipped_study_titles().items():
        assert name in text
        assert title in text
    assert list_studies(as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == shipped_study_titles()


def test_show_prints_values_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(StudyFlags("cifar100", sets=("search.trials=7",)), as_yaml=False) == 0
    lines = capsys.readouterr().out.splitlines()
    for key, value, source in (
        ("hyperparameters.nal.first_target_epoch", "60", "public code, train_cifar.py"),
        ("reference.nal.lambda", "10", "paper, section 5.2"),
        ("search.trials", "7", "set by --set"),
    ):
        (line,) = [line for line in lines if line.startswith(f"{key} ")]
        assert line.split()[1].startswith(value)
        assert source in line


def test_show_as_yaml_is_the_same_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(StudyFlags("digits", epochs=12), as_yaml=True) == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    assert (
        load_study(str(path)).resolved_values
        == StudyFlags("digits", epochs=12).load().resolved_values
    )
