"""Names of sweeps are checked by the archive and the database, without MLflow."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from factories import make_cell, make_plan
from stores import fresh_store

from orchestrator.home import Home
from orchestrator.recorded_names import check_recorded, require_sweeps
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.sweep_removal import mark_as_deleted
from orchestrator.tracking.sweep_uses import SweepUse
from orchestrator.tracking.tracker import Tracker
from trainables.errors import HomeError, UserError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_name_that_no_sweep_has_is_refused_with_those_that_are_recorded(tmp_path: Path) -> None:
    home = Home(tmp_path)
    check_recorded(home, ["nothing-is-recorded"])
    plan = make_plan([make_cell("ce")], sweep="ab" * 32)
    SweepArchive.of(tmp_path, plan.sweep).write(plan, "title: digits\n")
    check_recorded(home, [plan.study, "abab", "folder/study.yaml"])
    with pytest.raises(UserError) as error:
        check_recorded(home, ["nosuch"])
    assert "no study or sweep 'nosuch' is recorded" in str(error.value)
    assert str(error.value).endswith(f"latest first: {plan.study} {plan.sweep[:12]}")


def test_the_sweep_that_was_typed_last_is_named_first(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    plans = [make_plan([make_cell("ce")], sweep=letter * 64) for letter in "aba"]
    for plan in plans:
        tracker = Tracker(uri, tmp_path / "artifacts", plan.study)
        tracker.start_sweep(plan, "")
        tracker.finish_sweep(plan, {})
    with pytest.raises(UserError, match=rf"latest first: digits {'a' * 12}, digits {'b' * 12}$"):
        check_recorded(Home(tmp_path), ["nosuch"])


def test_a_sweep_that_was_moved_back_from_the_trash_needs_sync(tmp_path: Path) -> None:
    uri, plan = fresh_store(tmp_path), make_plan([make_cell("ce")], sweep="ab" * 32)
    archive = SweepArchive.of(tmp_path, plan.sweep)
    archive.write(plan, "title: digits\n")
    tracker = Tracker(uri, tmp_path / "artifacts", plan.study)
    tracker.start_sweep(plan, "")
    mark_as_deleted(uri, SweepUse(archive, plan, frozenset(), {}, frozenset()))
    for name in ("abab", plan.study):
        with pytest.raises(
            UserError,
            match=rf"sweep {'ab' * 6} of 'digits' is recorded .*: run `python -m orchestrator sync "
            rf"--home {tmp_path}` first",
        ):
            check_recorded(Home(tmp_path), [name])
    with pytest.raises(UserError, match=rf"sweep {'ab' * 6} of 'digits' is recorded under --home"):
        require_sweeps(Home(tmp_path))
    # Another sweep of the study can be reported by the study's name.
    Tracker(uri, tmp_path / "artifacts", plan.study).start_sweep(
        make_plan([make_cell("ce")], sweep="cd" * 32), ""
    )
    require_sweeps(Home(tmp_path))
    check_recorded(Home(tmp_path), [plan.study, "cdcd"])


def test_a_home_without_sweeps_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(HomeError, match="no run is recorded in the home folder"):
        require_sweeps(home)
    assert list(tmp_path.iterdir()) == []
    fresh_store(tmp_path)  # as after a removal of all sweeps
    with pytest.raises(UserError, match=r"no sweep is recorded in sqlite:///.*: run"):
        require_sweeps(home)
    plan = make_plan([make_cell("ce")])
    SweepArchive.of(tmp_path, plan.sweep).write(plan, "title: digits\n")
    require_sweeps(home)


def test_a_report_in_an_empty_folder_is_refused_before_heavy_imports(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from orchestrator.__main__ import main\n"
        f"sys.argv[1:] = ['report', 'nosuch', '--home', {str(tmp_path / 'none')!r}]\n"
        "try:\n    main()\n"
        "finally:\n    print({'mlflow', 'torch', 'scipy', 'jinja2'} & {*sys.modules})\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert process.stderr.startswith("error: no run is recorded in the home folder")
    assert process.stdout == "set()\n"


def test_the_check_imports_no_heavy_package() -> None:
    heavy = {"mlflow", "torch", "scipy"}
    code = f"import sys, orchestrator.recorded_names; print({heavy} & {{*sys.modules}})"
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"
