from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from factories import make_result, make_spec

from orchestrator.reproduction.bundle_texts import environment_text, readme_text, script_text
from trainables.reproduction.recorded import RecordedRun
from trainables.run.parameters import FrozenMap

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = {
    "torch": "2.6.0",
    "torchvision": "0.21.0",
    "numpy": "2.1.0",
    "pillow": "11.0.0",
    "psutil": "6.0.0",
    "scikit-learn": "1.5.0",
    "timm": "1.0.9",
    "python": "3.11.7",
}


def recorded_run(seed: int = 0, *, is_need: bool = False, **environment: str) -> RecordedRun:
    result = make_result(make_spec(seed=seed))
    return RecordedRun(
        result, is_altered=False, environment={**VERSIONS, **environment}, is_need=is_need
    )


def test_the_packages_have_their_recorded_versions() -> None:
    lines = environment_text([recorded_run()]).splitlines()
    assert lines == [
        "# recorded with Python 3.11.7",
        *("torch==2.6.0", "torchvision==0.21.0", "numpy==2.1.0", "pillow==11.0.0"),
        *("psutil==6.0.0", "scikit-learn==1.5.0", "timm==1.0.9"),
    ]


def test_wheels_for_a_kind_of_device_come_from_their_own_index() -> None:
    lines = environment_text([recorded_run(torch="2.6.0+cpu")]).splitlines()
    assert lines[1:3] == [
        "--extra-index-url https://download.pytorch.org/whl/cpu",
        "torch==2.6.0+cpu",
    ]


def test_unknown_versions_are_said_to_be_unknown() -> None:
    run = recorded_run(torch="2.6.0, then 2.7.0", timm="absent")
    lines = environment_text([run]).splitlines()
    assert lines[1] == "torch  # version not recorded"
    assert lines[-1] == "timm  # version not recorded"


def test_the_script_names_the_runs_but_not_those_that_they_need() -> None:
    runs = [recorded_run(9, is_need=True), recorded_run(0), recorded_run(1)]
    *_, last = script_text(runs).splitlines()
    assert last.split() == [runs[1].digest, runs[2].digest]


def run_script(folder: Path, python: str) -> tuple[int, str]:
    """Run the script of a bundle in a folder; return its exit code and what it prints of errors."""
    folder.mkdir()
    script = folder / "reproduce.sh"
    script.write_text(script_text([recorded_run()]))
    environment = {"PATH": os.defpath, "PYTHON": python}
    done = subprocess.run(
        ["/bin/sh", script], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_the_script_refuses_what_it_cannot_use_in_one_line(tmp_path: Path) -> None:
    assert run_script(tmp_path / "a:b", sys.executable) == (
        2,
        f"error: {tmp_path}/a:b: Python cannot search a folder with a colon: move the bundle\n",
    )
    assert run_script(tmp_path / "c", "/none/python") == (
        2,
        "error: /none/python is not Python 3.11 or later: set PYTHON to one that is\n",
    )


def readme(*runs: RecordedRun, **changes: Any) -> str:
    return readme_text([replace(run, **changes) for run in runs], "the code of commit 0123")


def test_the_page_names_runs_data_and_code() -> None:
    text = readme(recorded_run(9, is_need=True), recorded_run(device="cpu: AVX2"))
    assert text.startswith("# nal on symmetric-0.4, seed 0\n")
    assert "| nal on symmetric-0.4, seed 9 (needed) | 6 | finished |" in text
    assert "| nal on symmetric-0.4, seed 0 | 6 | finished | cpu: AVX2 |" in text
    assert f"`digits`, SHA-256 of its content {make_spec().data}" in text
    assert "Distributor: scikit-learn." in text
    assert "- `code/`: the code of commit 0123\n" in text
    assert "at most 0.5 points |" in text


def test_the_page_says_where_code_from_outside_is() -> None:
    spec = make_spec(code=FrozenMap({"Mine@0123": "0123"}))
    text = readme(replace(recorded_run(), result=make_result(spec)))
    assert "code from outside the project, Mine@0123, is in `record/runs/<digest>/code/`" in text


def test_a_dataset_that_can_be_downloaded_is() -> None:
    spec = make_spec(dataset="cifar10")
    text = readme(replace(recorded_run(), result=make_result(spec)))
    assert "The script downloads it." in text
