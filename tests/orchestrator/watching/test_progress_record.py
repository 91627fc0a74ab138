from __future__ import annotations

import json
from pathlib import Path

from orchestrator.flags import Locations, StudyFlags
from orchestrator.watching.progress_record import continuing_command, recorded_flags

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
