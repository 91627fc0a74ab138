from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from factories import make_cell, make_plan, text_hash

from orchestrator.tracking.archive import SweepArchive, iter_archives
from trainables.errors import HomeError, RecordError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_plan_that_is_not_utf8_is_damaged(tmp_path: Path) -> None:
    archive = SweepArchive.of(tmp_path, "a")
    archive.write(make_plan(), "")
    (archive.folder / "plan.json").write_bytes(b'{"title": "caf\xe9"}')
    with pytest.raises(RecordError, match=r"plan\.json is damaged or was written by another"):
        archive.read_plan_and_study()
    assert archive.read_plan() is None


def test_plan_and_study_are_read_back(tmp_path: Path) -> None:
    plan = make_plan([make_cell()], state="running")
    archive = SweepArchive.of(tmp_path, plan.sweep)
    archive.write(plan, "title: digits, λ\n")
    assert archive.folder == tmp_path / "sweeps" / plan.sweep
    assert archive.read_plan_and_study() == (plan, "title: digits, λ\n")
    assert sorted(path.name for path in archive.folder.iterdir()) == ["plan.json", "study.yaml"]


def test_a_page_is_current_unless_its_plan_or_a_record_is_newer(tmp_path: Path) -> None:
    archive = SweepArchive.of(tmp_path, "a")
    archive.write(make_plan(), "")
    record = tmp_path / "result.json"
    record.write_text("{}")
    assert archive.read_current_page([record]) == ""
    page = archive.folder / "report.html"
    page.write_text("<p>λ", "utf-8")
    paths = (page, archive.folder / "plan.json", record)
    for path in paths:
        os.utime(path, (1000, 1000))
    assert archive.read_current_page([record]) == "<p>λ"
    for path in paths[1:]:
        os.utime(path, (1001, 1001))
        assert archive.read_current_page([record]) == ""
        os.utime(path, (1000, 1000))
    assert archive.read_current_page([tmp_path / "missing.json"]) == ""


def test_incomplete_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    archive = SweepArchive.of(tmp_path, "a" * 64)
    archive.write(make_plan(), "name: digits\n")
    partial_path = archive.folder / ".plan.json.1.partial"
    partial_path.touch()
    archive.write(make_plan(), "name: digits\n")
    assert not partial_path.exists()


def test_the_last_write_counts(tmp_path: Path) -> None:
    archive = SweepArchive.of(tmp_path, "a" * 64)
    archive.write(make_plan(state="running"), "old\n")
    archive.write(make_plan(state="finished"), "new\n")
    plan, study = archive.read_plan_and_study()
    assert (plan.state, study) == ("finished", "new\n")


def test_archives_come_oldest_first(tmp_path: Path) -> None:
    digests = [text_hash(word) for word in "abc"]
    for age, digest in enumerate(digests):
        archive = SweepArchive.of(tmp_path, digest)
        archive.write(make_plan(sweep=digest), "")
        os.utime(archive.folder / "plan.json", (1000 - age, 1000 - age))
    (tmp_path / "sweeps" / "digits.lock").write_text("")
    sweeps = [archive.read_plan_and_study()[0].sweep for archive in iter_archives(tmp_path)]
    assert sweeps == digests[::-1]


def test_a_home_without_sweeps_has_no_archives(tmp_path: Path) -> None:
    assert list(iter_archives(tmp_path)) == []


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "sweeps").write_text("a file is in the way")
    with pytest.raises(HomeError, match="cannot write"):
        SweepArchive.of(tmp_path, "a" * 64).write(make_plan(), "")


def test_a_damaged_plan_is_explained(tmp_path: Path) -> None:
    archive = SweepArchive.of(tmp_path, "a" * 64)
    archive.write(make_plan(), "")
    (archive.folder / "plan.json").write_text("{}")
    with pytest.raises(RecordError, match=r"plan\.json"):
        archive.read_plan_and_study()
