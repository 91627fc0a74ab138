"""The code of this project in a bundle: from git as it was recorded, or as it is installed."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.interpreter import PACKAGE_ROOT
from trainables.extensions import OWN_PACKAGES
from trainables.run.provenance import NO_COMMIT, code_provenance
from trainables.run.spec import REVISION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainables.reproduction.recorded import RecordedRun

OTHER_FILES = ("pyproject.toml", "LICENSE")
"""Files beside the packages that are copied where they exist."""
REQUIRED_FILE = "trainables/reproduction/retraining.py"
"""File that code has to have if runs are to be trained again with it."""


def copy_code(runs: Sequence[RecordedRun], folder: Path) -> str:
    """Copy the packages of this project to a folder, if possible at the commit of recorded runs.

    Args:
        runs: recorded runs, all of this revision of the training code.
        folder: folder to write, which does not exist.

    Returns:
        A sentence that says which code it is.
    """
    commits = {run.environment.get("commit", NO_COMMIT) for run in runs}
    is_clean = all(run.environment.get("dirty") == "no" for run in runs)
    root = Path(PACKAGE_ROOT)
    if len(commits) == 1 and is_clean:
        (commit,) = commits
        archive = _archive(root, commit)
        if archive is not None:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(folder, filter="data")
            return f"the code of commit {commit}, with which the runs were recorded"
    for package in OWN_PACKAGES:
        shutil.copytree(
            root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in OTHER_FILES:
        if (root / name).is_file():
            shutil.copyfile(root / name, folder / name)
    code = code_provenance()
    changes = ", with uncommitted changes" if code["dirty"] == "yes" else ""
    version = "" if code["commit"] == NO_COMMIT else f" (commit {code['commit']}{changes})"
    recorded = ", ".join(sorted(commits))
    fault = "could not be read" if is_clean else "had uncommitted changes"
    return (
        f"the code that was installed when this bundle was written{version}, of revision "
        f"{REVISION} like that of the runs, whose own code (commit {recorded}) {fault}"
    )


def _archive(root: Path, commit: str) -> bytes | None:
    """Return a tar file of the packages at a commit; None if git does not have what is needed."""
    git = ["git", "-C", str(root)]
    names = [*OWN_PACKAGES, *OTHER_FILES]
    try:
        subprocess.run(  # noqa: S603 - fixed arguments, and a commit of this program's record
            [*git, "cat-file", "-e", f"{commit}:{REQUIRED_FILE}"], check=True, capture_output=True
        )
        return subprocess.run(  # noqa: S603
            [*git, "archive", "--format=tar", commit, *names], check=True, capture_output=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
