"""Helpers that drive the Ray Tune trainable without Tune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.trainable import RunTrainable
from trainables.training.job import Job, open_run

if TYPE_CHECKING:
    from trainables.run.spec import RunSpec


class HomeTrainable(RunTrainable):
    """Trainable of real runs that takes home and demand from the trial's configuration."""

    def setup(self, config: dict[str, Any], **_bound: Any) -> None:
        home = Path(config["home"])
        job, demand = Job(home, home / "data", "digits"), config.get("demand")
        super().setup(config, job=job, opener=open_run, demand=demand)


def trial(spec: RunSpec, home: Path, **changes: Any) -> dict[str, Any]:
    """Return the configuration of a trial."""
    plain = {"spec": spec.to_json(), "home": str(home)}
    return {**plain, "stops_after": [], "reported_epoch": 0, "gpus": 0, **changes}


def rows_of(report: dict[str, Any]) -> list[dict[str, float]]:
    """Return the rows of a report."""
    rows: list[dict[str, float]] = json.loads(report["rows"])
    return rows
