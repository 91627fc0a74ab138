"""The provenance of a run (device, host, versions, commit), recorded beside its spec."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from trainables.run.identity import canonical_json, digest_of
from trainables.run.record import write_once

PACKAGES = ("torch", "torchvision", "numpy", "ray", "optuna")
"""Names of the packages whose versions are recorded with every run."""

ENVIRONMENTS = "environments"
"""Name of the folder under the home that holds the lists of installed distributions."""


@cache
def code_provenance() -> dict[str, str]:
    """Return the commit of the code's git checkout and whether it is dirty, if it is a checkout."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed arguments

    try:
        if not git("ls-files", "provenance.py"):
            return {"commit": "not a checkout", "dirty": "unknown"}
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": "yes" if git("status", "--porcelain", "--untracked-files=no") else "no",
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "not a checkout", "dirty": "unknown"}


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, of this project and of `PACKAGES`, by name."""
    installed = {"python": platform.python_version()}
    for package in ("nal-orchestrator", *PACKAGES):
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "absent"
    return installed


def provenance(device: str) -> dict[str, str]:
    """Return the provenance of a run on a device in the present process."""
    return {"device": device, "host": platform.node(), **versions(), **code_provenance()}


@cache
def distributions() -> dict[str, str]:
    """Return the version of every installed distribution by its name in lower case."""
    named = ((entry.metadata["Name"], entry.version) for entry in metadata.distributions())
    return {name.lower(): version for name, version in named if name}


def store_environment(home: Path) -> str:
    """Store the list of installed distributions under the home and return its SHA-256.

    Raises:
        HomeError: if the home cannot be written.
    """
    versions_by_name = distributions()
    sha256 = digest_of(versions_by_name)
    content = canonical_json(versions_by_name).encode()
    write_once(home / ENVIRONMENTS / f"{sha256}.json", content)
    return sha256
