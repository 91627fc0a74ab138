from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.flags import Locations, StudyFlags
from orchestrator.watching.progress_record import (
    PROGRESS_FILE,
    ProgressRecord,
    Start,
    continuing_command,
    read_progress,
    recorded_flags,
)

HOME = Path("/data/home")


def stored(study_flags: StudyFlags, locations: Locations) -> dict[str, object]:
    """Return recorded flags after their way through a file."""
    values: dict[str, object] = json.loads(json.dumps(recorded_flags(study_flags, locations)))
    return values


def test_the_command_of_a_sweep_comes_back() -> None:
    study_flags = StudyFlags(
        "digits",
        trials=20,
        scenarios=("clean", "symmetric-0.4"),
        methods=("nal", "ce"),
        sets=("recipe.window=3",),
        allow_code=True,
    )
    locations = Locations(
        data_dir=Path("/data/sets"), home_dir=HOME, engine="inline", tracking_uri="http://host:5"
    )
    assert continuing_command(stored(study_flags, locations), HOME) == (
        "python -m orchestrator sweep digits --trials 20 --scenario clean --scenario symmetric-0.4 "
        "--methods nal,ce --set recipe.window=3 --data-dir /data/sets --home /data/home "
        "--engine inline --tracking-uri http://host:5"
    )


def test_the_home_is_where_the_sweep_is_found() -> None:
    flags = stored(StudyFlags("digits"), Locations())
    assert continuing_command(flags, HOME) == (
        "python -m orchestrator sweep digits --home /data/home"
    )


def test_no_password_is_stored_and_a_path_is_absolute() -> None:
    url = "postgresql://me:secret@host/db"
    locations = Locations(tracking_uri=url, search_storage=url)
    flags = stored(StudyFlags("my/study.yaml"), locations)
    assert "secret" not in json.dumps(flags)
    assert flags["study"] == str(Path("my/study.yaml").resolve())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("written_at", "yesterday"),
        ("starts", []),
        ("phases", {"guess": {"total": 1, "ended": 0}}),
        ("phases", {"search": {"total": None, "ended": 0}}),
        ("notices", [["no text"]]),
        ("flags", {"methods": [3]}),
        ("max_concurrent_runs", "2"),
    ],
)
def test_a_file_with_other_values_is_taken_for_none(key: str, value: Any, tmp_path: Path) -> None:
    start = Start("host", 1, "2026-11-27T10:00:00+00:00", 10.0, 5.0, 1, "running")
    record = ProgressRecord("2026-11-27T10:00:05+00:00", [start], {"study": "digits"})
    record.write(tmp_path)
    assert read_progress(tmp_path) == record
    path = tmp_path / PROGRESS_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert read_progress(tmp_path) is None
