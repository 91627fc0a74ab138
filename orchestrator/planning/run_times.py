"""Correction of a measured cost by the times that recorded runs took."""

from __future__ import annotations

import platform
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

from orchestrator.planning.sizes import network_key, sample_counts
from trainables.errors import NalError
from trainables.run.provenance import package_versions
from trainables.run.record import Record
from trainables.run.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainables.datasets.base import Dataset
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec
    from trainables.training.cost import Cost

MAX_COMPARED_RUNS = 20
"""Largest number of recorded runs whose times are compared with the measured cost."""
MAX_READ_RUNS = 100
"""Largest number of recorded runs that are read in search of similar ones; the latest ones."""


def time_ratio(cost: Cost, spec: RunSpec, dataset: Dataset, home: Path) -> float:
    """Return how many times as long recorded runs took as a measured cost predicts.

    The recorded runs are the latest that resemble the measured run and were trained on this machine
    with the same version of PyTorch. Unlike the measurement, they ran beside other runs.

    Args:
        cost: measured cost of the run.
        spec: spec of the run.
        dataset: dataset of the run.
        home: home folder with the recorded runs.

    Returns:
        The median ratio over the recorded runs; 1 if there are none.
    """
    ratios = [
        sum(result.seconds)
        / cost.training_seconds(result.spec.recipe, *sample_counts(result.spec, dataset))
        for result in islice(_iter_similar_runs(cost.device, spec, home), MAX_COMPARED_RUNS)
    ]
    return median(ratios) if ratios else 1.0


def _iter_similar_runs(device: str, spec: RunSpec, home: Path) -> Iterator[RunResult]:
    """Yield the finished runs that cost as much per step as a run with a spec, latest first."""
    conditions = {
        "device": device,
        "host": platform.node(),
        "torch": package_versions()["torch"],
    }
    result_times = {path: path.stat().st_mtime for path in home.glob("runs/*/result.json")}
    for path in sorted(result_times, key=result_times.__getitem__, reverse=True)[:MAX_READ_RUNS]:
        try:
            result = Record(home, path.parent.name).read_result()
        except NalError:
            continue
        if (
            result is not None
            and result.status is Status.FINISHED
            and conditions.items() <= result.provenance.items()
            and _step_settings(result.spec) == _step_settings(spec)
        ):
            yield result


def _step_settings(spec: RunSpec) -> tuple[object, ...]:
    """Return the settings of a run that determine the cost of a step and of an evaluation."""
    recipe = spec.recipe
    return (
        *(spec.data, network_key(spec), spec.threads, spec.revision),
        *(recipe.batch_size, recipe.precision, recipe.crop_size, recipe.tf32),
    )
