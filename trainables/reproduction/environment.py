"""The environment of a run: what may change the bits of its result, besides its spec."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.run.provenance import (
    ENVIRONMENTS_FOLDER,
    TRAINING_PACKAGES,
    installed_distributions,
    run_provenance,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENVIRONMENT_NAMES = ("device", "processor", "python", *TRAINING_PACKAGES, "commit")
"""Names of the entries of an environment that are compared."""

ROUNDING_NAMES = ("device", "processor", "torch", "torchvision", "numpy")
"""Entries on which the rounding of floating-point numbers depends."""

UNCOMMITTED_CHANGES = "dirty"
"""Name of the provenance entry that tells whether the code had uncommitted changes."""


@dataclass(frozen=True, slots=True)
class EnvironmentDifference:
    """An entry of the environment that is not the same as when a run was recorded.

    Attributes:
        name: name of the entry, such as "torch".
        recorded: value when the run was recorded.
        present: value where the run was trained again.
    """

    name: str
    recorded: str
    present: str

    def __str__(self) -> str:
        return f"{self.name}: {self.recorded} recorded, {self.present} now"


def recorded_environment(home: Path, provenance: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a recorded run, as far as it is recorded.

    Args:
        home: home folder with the record, which has the list of packages that were installed.
        provenance: provenance of the run.
    """
    path = home / ENVIRONMENTS_FOLDER / f"{provenance.get('environment', '')}.json"
    versions: dict[str, str] = {}
    with suppress(OSError, ValueError, TypeError):
        versions = {
            str(name): str(version) for name, version in dict(json.loads(path.read_text())).items()
        }
    return _selected({**versions, **provenance})


def present_environment(device: str) -> dict[str, str]:
    """Return the environment of this process.

    Args:
        device: name of the device on which it trains.
    """
    return _selected({**installed_distributions(), **run_provenance(device)})


def environment_differences(
    recorded: Mapping[str, str], present: Mapping[str, str]
) -> list[EnvironmentDifference]:
    """Return the entries that differ, and uncommitted changes of the code on either side.

    An entry that is missing on one side is left out. Code that is no checkout has the commit
    `NO_COMMIT`, which differs from all others: nobody can tell what the code is.

    Args:
        recorded: environment in which a run was recorded.
        present: environment in which it was trained again.
    """
    differences = [
        EnvironmentDifference(name, recorded[name], present[name])
        for name in ENVIRONMENT_NAMES
        if name in recorded and name in present and recorded[name] != present[name]
    ]
    changes = [
        "yes" if environment.get(UNCOMMITTED_CHANGES) == "yes" else "no"
        for environment in (recorded, present)
    ]
    if "yes" in changes:
        differences.append(EnvironmentDifference("uncommitted changes", *changes))
    return differences


def _selected(entries: Mapping[str, str]) -> dict[str, str]:
    return {
        name: entries[name] for name in (*ENVIRONMENT_NAMES, UNCOMMITTED_CHANGES) if name in entries
    }
