"""A bundle that is used where neither this project nor its home folder is."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from command_line import CHECKOUT, call_command
from recorded_runs import create_home, pmd_chain, record
from small_runs import runnable

from trainables.run.provenance import TRAINING_PACKAGES
from trainables.run_data.realisation import labels_digest

NOT_NEEDED = ("ray", "mlflow", "optuna", "pydantic", "rich", "typer", "pandas")
"""Packages of the orchestrator that training does without."""


def required_distributions(names: tuple[str, ...]) -> set[str]:
    """Return the names of installed packages and of all that they require, without extras."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop().lower()
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            pending += [
                re.split(r"[^\w.-]", requirement)[0]
                for requirement in requirements
                if "extra ==" not in requirement
            ]
    return found


def make_environment(folder: Path) -> None:
    """Create a virtual environment that has only what training imports, by links."""
    venv.create(folder, symlinks=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    for name in required_distributions(TRAINING_PACKAGES):
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            source = Path(str(distribution.locate_file(top)))
            if source.exists() and not (site_packages / top).exists():
                (site_packages / top).symlink_to(source)
    (folder / "complete").touch()


def private_texts(home: Path, *, is_code: bool) -> re.Pattern[bytes]:
    """Return what belongs to this machine, and must not be in a file of a bundle."""
    names = [re.escape(str(path)) for path in (home, CHECKOUT, sys.prefix)]
    if not is_code:  # short names of hosts and users are words in code
        names += [rf"\b{re.escape(name)}\b" for name in (platform.node(), getpass.getuser())]
    return re.compile("|".join(names).encode())


@pytest.mark.slow
def test_a_bundle_runs_in_an_empty_environment(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home")
    chain = pmd_chain()
    digest = record(home, *chain)
    written = tmp_path / "written"
    done = call_command("bundle", digest[:8], "--home", home.path, "--out", written)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"{written}: 1 run and 1 needed run, ")
    bundle = tmp_path / "elsewhere" / "bundle"
    bundle.parent.mkdir()
    written.rename(bundle)
    home.path.rename(tmp_path / "gone")

    assert sorted(path.name for path in bundle.iterdir()) == [
        *("README.md", "code", "environment.txt", "labels", "record", "reproduce.sh")
    ]
    for spec in chain:
        result = json.loads((bundle / f"record/runs/{spec.digest}/result.json").read_text())
        labels = np.load(bundle / f"labels/{spec.digest}.npy")
        assert labels_digest(labels) == result["labels"]["sha256"]
    packages = (bundle / "environment.txt").read_text().splitlines()[1:]
    assert packages == [f"{name}=={metadata.version(name)}" for name in TRAINING_PACKAGES]
    for path in filter(Path.is_file, bundle.rglob("*")):
        private = private_texts(home.path, is_code=bundle / "code" in path.parents)
        assert not private.search(path.read_bytes()), path

    make_environment(bundle / "venv")
    (tmp_path / "user").mkdir()
    environment = {"PATH": os.defpath, "HOME": str(tmp_path / "user")}
    find = f"from importlib.util import find_spec; print(*filter(find_spec, {NOT_NEEDED}))"
    python = bundle / "venv/bin/python"
    assert subprocess.check_output([python, "-c", find], env=environment, cwd="/") == b"\n"
    again = subprocess.run(
        [bundle / "reproduce.sh"],
        env={**environment, "PYTHON": sys.executable},
        cwd=tmp_path / "user",
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    *_, need, run, verdict = [
        line for line in again.stdout.splitlines() if re.search(r"identical|differs|within", line)
    ]
    assert f"({chain[0].digest[:12]}, a run that another needs): identical (20 epochs" in need
    assert f"({digest[:12]}): identical (3 epochs, noisy labels, posterior of its" in run
    assert verdict == "verdict: identical"
    assert not any((tmp_path / "user").iterdir())

    refused = subprocess.run(
        [bundle / "reproduce.sh", "--epochs", "9"],
        env={**environment, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: --epochs: run {digest[:12]} has 3 epochs, of which")


def test_the_default_folder_is_named_after_the_run(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home")
    digest = record(home, runnable())
    done = call_command("bundle", digest[:8], "--home", home.path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"bundle-{digest[:8]}: 1 run, ")
    again = call_command("bundle", digest[:8], "--home", home.path, folder=tmp_path)
    assert again.returncode == 2
    assert again.stderr == f"error: --out bundle-{digest[:8]}: exists already: name a new folder\n"
