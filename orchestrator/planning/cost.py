"""Estimate of the time and disk space that a sweep takes on this machine, before it starts."""

from __future__ import annotations

import base64
import json
import math
import os
import platform
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.interpreter import module_command
from orchestrator.planning.sizes import NetworkKey, PhaseSize, RunGroup, network_key, phase_sizes
from trainables.cpus import usable_cpu_count
from trainables.errors import NalError
from trainables.extensions import loaded_files, without_hash
from trainables.methods import method_of
from trainables.run.record import write_atomically
from trainables.training.cost import Cost
from trainables.training.job import gpu_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchestrator.planning.plan import Plan
    from trainables.run.spec import RunSpec

RUN_OVERHEAD_SECONDS = 0.3
"""Wall time that Ray, Optuna and MLflow add to each run, in seconds."""
RAY_START_SECONDS = 15.0
"""Wall time to start Ray and its workers, in seconds."""


@dataclass(frozen=True, slots=True)
class MachineCost:
    """Measured cost of training on a machine, from which the cost of a sweep is estimated.

    Attributes:
        costs_by_network: measured cost of training each network of a plan.
        device: name of the device on which the costs were measured.
        max_concurrent_runs: number of runs that the machine carries out at the same time.
    """

    costs_by_network: Mapping[NetworkKey, Cost]
    device: str
    max_concurrent_runs: int = 1

    def run_seconds(self, group: RunGroup) -> float:
        """Estimate the wall time of one run of a group, in seconds."""
        recipe, cost = group.spec.recipe, self.costs_by_network[network_key(group.spec)]
        step_count = recipe.epochs * math.ceil(group.train_count / recipe.batch_size)
        evaluation_count = sum(recipe.evaluates(epoch) for epoch in range(1, recipe.epochs + 1))
        return (
            step_count * cost.step_seconds
            + evaluation_count * group.evaluated_count * cost.evaluation_seconds
            + RUN_OVERHEAD_SECONDS
        )

    def mean_run_seconds(self, groups: Sequence[RunGroup]) -> float:
        """Estimate the mean wall time of the runs in some groups, in seconds; 0 without groups."""
        run_count = sum(group.run_count for group in groups)
        total_seconds = sum(group.run_count * self.run_seconds(group) for group in groups)
        return total_seconds / max(1, run_count)

    def phase_seconds(self, size: PhaseSize) -> float:
        """Estimate the wall time of a phase of the sweep, in seconds.

        The machine is assumed to carry out runs in rounds of `max_concurrent_runs`. The runs whose
        predictions determine noisy labels come first, in rounds of their own.
        """
        label_source_groups = [group for group in size.groups if group.is_label_source]
        other_groups = [group for group in size.groups if not group.is_label_source]
        return sum(
            math.ceil(sum(group.run_count for group in groups) / self.max_concurrent_runs)
            * self.mean_run_seconds(groups)
            for groups in (label_source_groups, other_groups)
        )

    def plan_seconds(self, plan: Plan) -> float:
        """Estimate the wall time of a whole sweep, in seconds."""
        return RAY_START_SECONDS + sum(self.phase_seconds(size) for size in phase_sizes(plan))

    def plan_bytes(self, plan: Plan) -> float:
        """Estimate the disk space of a sweep, in bytes: one checkpoint for each run.

        A checkpoint includes the state that the method stores for each training sample.
        """
        return sum(
            group.run_count
            * (self.costs_by_network[network_key(group.spec)].checkpoint_bytes + group.state_bytes)
            for size in phase_sizes(plan)
            for group in size.groups
        )


def measure_machine_cost(plan: Plan, cache_dir: Path | None) -> MachineCost:
    """Measure the cost of training each network of a plan on this machine.

    Measurements that are stored in the cache are not repeated.

    Args:
        plan: plan of the sweep.
        cache_dir: folder in which measurements are stored; None to store none.

    Raises:
        NalError: if a network cannot be trained on this machine.
    """
    study = plan.study
    specs = [group.spec for size in phase_sizes(plan) for group in size.groups]
    # The last spec of each network is measured: one of confirm whose method needs no other runs.
    specs.sort(key=lambda spec: not method_of(spec.method).stages)
    specs_by_network = {network_key(spec): spec for spec in specs}
    costs_by_network = {
        network: measure_run_cost(spec, plan, cache_dir)
        for network, spec in specs_by_network.items()
    }
    max_concurrent_runs = usable_cpu_count() // study.resources.cpus
    any_cost = next(iter(costs_by_network.values()))
    if any_cost.device.startswith("cuda"):
        gpu_limit = math.floor(any_cost.devices / study.resources.gpus)
        max_concurrent_runs = min(max_concurrent_runs, gpu_limit)
    return MachineCost(
        costs_by_network, any_cost.device, max_concurrent_runs=max(1, max_concurrent_runs)
    )


def measure_run_cost(spec: RunSpec, plan: Plan, cache_dir: Path | None) -> Cost:
    """Measure the cost of one run of a plan on this machine.

    A measurement that is stored in the cache is not repeated.

    Args:
        spec: spec of the run.
        plan: plan that the run belongs to.
        cache_dir: folder in which measurements are stored; None to store none.

    Raises:
        NalError: if the network cannot be trained on this machine.
    """
    key = _measurement_key(spec, plan)
    path = None if cache_dir is None else cache_dir / "costs.json"
    measurements = _read_measurements(path)
    if key not in measurements:
        measurements[key] = _measure_in_subprocess(spec, plan)
        if path is not None:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, json.dumps(measurements, indent=1))
    return Cost(**measurements[key])


def _read_measurements(path: Path | None) -> dict[str, Any]:
    """Return the stored measurements by key; an empty dict if the file is missing or damaged."""
    try:
        return dict(json.loads(path.read_text())) if path is not None else {}
    except (FileNotFoundError, ValueError):
        return {}  # measuring again takes seconds


def _measurement_key(spec: RunSpec, plan: Plan) -> str:
    """Return the key of a stored measurement: every setting that affects the cost of a run."""
    recipe = spec.recipe
    key_parts = [
        platform.node(),
        spec.backbone,
        *(f"{k}={v}" for k, v in spec.backbone_parameters.items()),
        spec.method,
        *map(str, spec.recipe.input_shape(plan.dataset.image_shape)),
        len(plan.dataset.classes),
        recipe.batch_size,
        recipe.precision,
        plan.study.resources.gpus,
        spec.threads,
        spec.revision,
    ]
    return " ".join(map(str, key_parts))


def _measure_in_subprocess(spec: RunSpec, plan: Plan) -> dict[str, Any]:
    """Measure the cost of a run in a separate process, and return the fields of its `Cost`.

    Raises:
        NalError: if the network cannot be trained on this machine.
    """
    request = {
        "spec": spec.to_dict(),
        "image": spec.recipe.input_shape(plan.dataset.image_shape),
        "classes": len(plan.dataset.classes),
        "code": {file.path: base64.b64encode(file.content).decode() for file in loaded_files()},
    }
    process = subprocess.run(  # noqa: S603 - our own interpreter
        module_command("trainables.training.probe"),
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | gpu_environment(plan.study.resources.gpus),
    )
    if process.returncode != 0:
        last_line = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise NalError(
            f"cannot train {without_hash(spec.method)} with backbone "
            f"{without_hash(spec.backbone)} on this machine: {last_line}"
        )
    return dict(json.loads(process.stdout))


def format_size(byte_count: float) -> str:
    """Format a number of bytes, for example "12 MB" or "13.5 GB"."""
    return f"{byte_count / 1e6:.0f} MB" if byte_count < 1e9 else f"{byte_count / 1e9:.1f} GB"


def format_duration(seconds: float) -> str:
    """Format a duration, for example "40 s", "12 min", "3.5 h" or "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
