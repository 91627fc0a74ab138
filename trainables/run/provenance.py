"""Provenance of a run: device, host, versions and commit, none of which enter the run's digest."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from trainables.cpus import processor_name
from trainables.run.identity import canonical_json, digest_of
from trainables.run.record import write_once

RECORDED_PACKAGES = ("torch", "torchvision", "numpy", "ray", "optuna")
"""Names of the packages whose versions are recorded with every run."""

TRAINING_PACKAGES = (
    *("torch", "torchvision", "numpy", "pillow", "psutil", "scikit-learn", "timm"),
)
"""Names of the packages that training imports, without Ray."""

ENVIRONMENTS_FOLDER = "environments"
"""Name of the subfolder of the home folder for lists of installed Python packages."""


NO_COMMIT = "not a checkout"
"""Commit in the provenance of code that is not in a git repository."""


@cache
def code_provenance() -> dict[str, str]:
    """Return the git commit of this code, and as "dirty" whether uncommitted changes exist."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed arguments

    try:
        if not git("ls-files", "provenance.py"):
            return {"commit": NO_COMMIT, "dirty": "unknown"}
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": "yes" if git("status", "--porcelain", "--untracked-files=no") else "no",
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": NO_COMMIT, "dirty": "unknown"}


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of Python, this project and `RECORDED_PACKAGES`, by package name."""
    versions = {"python": platform.python_version()}
    for package in ("nal-orchestrator", *RECORDED_PACKAGES):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    return versions


def run_provenance(device: str) -> dict[str, str]:
    """Return the provenance of a run that this process trains on the named device."""
    return {
        "device": device,
        "processor": processor_name(),
        "host": platform.node(),
        **package_versions(),
        **code_provenance(),
    }


@cache
def installed_distributions() -> dict[str, str]:
    """Return the versions of all installed Python packages, by name in lower case."""
    packages = ((each.metadata["Name"], each.version) for each in metadata.distributions())
    return {name.lower(): version for name, version in packages if name}


def store_environment(home: Path) -> str:
    """Store the list of installed Python packages and return the SHA-256 of the list.

    Args:
        home: path of the home folder, in which the list is stored under `environments/`.

    Raises:
        HomeError: if the home folder cannot be written.
    """
    versions_by_name = installed_distributions()
    sha256 = digest_of(versions_by_name)
    content = canonical_json(versions_by_name).encode()
    write_once(home / ENVIRONMENTS_FOLDER / f"{sha256}.json", content)
    return sha256
