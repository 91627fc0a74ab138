"""Where a run ran: recorded beside its spec, never part of it."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from trainables.run.identity import canonical_json, digest_of
from trainables.run.record import write_once

PACKAGES = ("torch", "torchvision", "numpy", "ray", "optuna")


@cache
def code_provenance() -> dict[str, str]:
    """Return commit and state of the code's git checkout; "not a checkout" for an installation."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed words

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
    """Return the versions of Python, of this project and of the packages a run depends on."""
    found = {"python": platform.python_version()}
    for package in ("nal-orchestrator", *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def provenance(device: str) -> dict[str, str]:
    """Return all that is recorded of where a run ran."""
    return {"device": device, "host": platform.node(), **versions(), **code_provenance()}


ENVIRONMENTS = "environments"


@cache
def distributions() -> dict[str, str]:
    """Return the version of every installed distribution by its name, in lower case."""
    installed = metadata.distributions()
    return {one.metadata["Name"].lower(): one.version for one in installed if one.metadata["Name"]}


def keep_environment(home: Path) -> str:
    """Keep the installed distributions under the home, once for equal ones; return their SHA-256.

    Raises:
        HomeError: the home cannot be written.
    """
    found = distributions()
    sha256 = digest_of(found)
    write_once(home / ENVIRONMENTS / f"{sha256}.json", canonical_json(found).encode())
    return sha256
