from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from orchestrator.home import DISK_RESERVE_BYTES, LAYOUT_VERSION, Home, folder_bytes
from trainables.errors import HomeError, UserError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_SCRIPT = """
import sys
import threading
from pathlib import Path
from orchestrator.home import Home
with Home(Path(sys.argv[1])).study_lock("digits"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_all_paths_are_under_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.search_database == tmp_path / "optuna.db"
    assert {home.cache_dir.parent, home.data_dir.parent, home.artifact_dir.parent} == {tmp_path}


def test_create_makes_the_folder_and_writes_its_format(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "b")
    home.check_layout()
    home.create()
    home.create()
    assert [path.name for path in home.path.iterdir()] == ["format"]
    assert (home.path / "format").read_text() == f"{LAYOUT_VERSION}\n"


def test_a_home_in_another_format_is_rejected(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    (tmp_path / "format").write_text("0\n")
    for method in (home.check_layout, home.create):
        with pytest.raises(HomeError) as info:
            method()
        assert str(info.value) == (
            f"the home folder {tmp_path} was written by another version of this program (format "
            "0, expected 1): choose another folder, or use the program version that wrote this one"
        )
    (tmp_path / "format").unlink()
    home.check_layout()
    (tmp_path / "runs/abc").mkdir(parents=True)
    (tmp_path / "runs/abc/spec.json").write_text("{}")
    with pytest.raises(
        HomeError, match=r"another version of this program \(format none, expected 1\)"
    ):
        home.create()


def test_a_home_that_cannot_be_written_to_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"cannot be written to .*choose another folder"):
        Home(tmp_path / "file" / "home").create()


def test_the_process_with_the_lock_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", LOCK_SCRIPT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        message = rf"a sweep of 'digits' is already running in .*\(process {other.pid} on "
        with pytest.raises(HomeError, match=message), home.study_lock("digits"):
            pass
        with home.study_lock("cifar10"):
            pass
        other.kill()
    with home.study_lock("digits"):
        pass


def test_a_look_at_the_lock_of_a_study_refuses_no_sweep(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.study_lock("digits"):
        assert home.is_carried_out("digits")
    with (tmp_path / "sweeps" / "digits.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as `is_carried_out` does for a moment
        threading.Timer(0.1, file.close).start()
        with home.study_lock("digits"):
            assert home.is_carried_out("digits")


def test_a_lock_ends_with_its_context(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for _ in range(2):
        with home.study_lock("digits"):
            lock_text = (tmp_path / "sweeps" / "digits.lock").read_text()
            assert f'"pid": {os.getpid()}' in lock_text
            with (
                pytest.raises(HomeError, match=f"process {os.getpid()} on "),
                home.study_lock("digits"),
            ):
                pass


def test_a_lock_without_content_is_explained(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.study_lock("digits"):
        (tmp_path / "sweeps" / "digits.lock").write_text("")
        with pytest.raises(HomeError, match="has just started"), home.study_lock("digits"):
            pass


def test_disk_space_is_measured_where_the_home_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[Path] = []

    def usage(path: Path) -> SimpleNamespace:
        paths.append(path)
        return SimpleNamespace(free=int(DISK_RESERVE_BYTES) + 1000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    home = Home(tmp_path / "not" / "yet")
    home.require_space(1000)
    with pytest.raises(HomeError, match=r"has 0\.2 GB free and the runs need about 0\.2 GB"):
        home.require_space(1001)
    with pytest.raises(HomeError, match=r"about 5\.2 GB: free some space"):
        home.require_space(5e9)
    assert set(paths) == {tmp_path}


def test_nothing_is_removed_while_a_command_trains(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with (
        home.in_use(),
        home.study_lock("digits"),
        pytest.raises(HomeError, match="a sweep or another command that trains is running"),
        home.not_in_use(),
    ):
        pass
    with home.not_in_use():
        pass


def test_nothing_is_trained_while_runs_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.home.LOCK_PATIENCE_SECONDS", 0.0)
    home = Home(tmp_path)
    with (
        home.not_in_use(),
        pytest.raises(HomeError, match="another command is removing runs from"),
        home.study_lock("digits"),
    ):
        pass


def test_the_size_of_a_folder_counts_files_and_not_what_links_name(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"1" * 100_000)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert 100_000 <= folder_bytes(tmp_path) < 110_000
    assert folder_bytes(tmp_path / "missing") == 0


@pytest.mark.parametrize("exists", [False, True])
def test_a_refused_command_leaves_no_home(tmp_path: Path, *, exists: bool) -> None:
    home = Home(tmp_path / "home")
    if exists:
        home.path.mkdir()
    with pytest.raises(UserError, match="refused"), home.removed_if_refused():  # noqa: PT012
        home.create()
        home.cache_dir.mkdir()
        with home.study_lock("digits"):
            raise UserError("refused")
    assert home.path.exists() is exists
    assert not list(home.path.glob("*"))


@pytest.mark.parametrize("name", ["lock", "cache/poetry.lock", "notes.txt"])
def test_a_refused_command_removes_nothing_of_the_user(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("of the user")
    home = Home(tmp_path)
    with pytest.raises(UserError, match="refused"), home.removed_if_refused():  # noqa: PT012
        home.create()
        raise UserError("refused")
    assert path.read_text() == "of the user"


def test_a_refused_command_keeps_a_home_that_was_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with pytest.raises(UserError, match="refused"), home.removed_if_refused():
        raise UserError("refused")
    assert [path.name for path in tmp_path.iterdir()] == ["format"]


def test_incomplete_files_are_removed_unless_the_folder_is_in_use(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    folder = tmp_path / "realisations"
    folder.mkdir()
    path = folder / "..a.json.1.new.1.partial"
    path.touch()
    kept = folder / "a.json"
    kept.touch()
    with home.in_use():
        home.remove_incomplete_files()
    assert path.exists()
    home.remove_incomplete_files()
    assert sorted(folder.iterdir()) == [kept]


def test_a_digest_is_completed_or_the_candidates_are_named(tmp_path: Path) -> None:
    home = Home(tmp_path / "my home")
    for number in range(6):
        (home.path / "runs" / f"ab{number}{'0' * 61}").mkdir(parents=True)
    assert home.full_digest("ab3") == f"ab3{'0' * 61}"
    names = ", ".join(f"ab{number}000000000" for number in range(5))
    with pytest.raises(UserError, match=rf"^the digests of 6 runs begin with 'ab' \({names}, …\)"):
        home.full_digest("ab")
    advice = f"`python -m orchestrator ui --home '{home.path}'` shows the recorded runs"
    with pytest.raises(UserError, match=f"begins with 'c': {advice}$"):
        home.full_digest("c")
