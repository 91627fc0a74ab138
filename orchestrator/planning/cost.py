"""Time and disk space that a plan costs on this machine, measured before the sweep starts."""

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
from orchestrator.planning.sizes import Network, PhaseSize, RunGroup, network_of, phase_sizes
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
"""Wall time that the orchestration adds to each run, in seconds."""
START_SECONDS = 15.0
"""Wall time to start Ray and its workers, in seconds."""


@dataclass(frozen=True, slots=True)
class MachineCost:
    """Cost of runs on a machine, and the number of runs at a time.

    Attributes:
        networks: measured cost of training each network.
        device: device on which the costs were measured.
        slots: number of runs that the machine carries out at a time.
    """

    networks: Mapping[Network, Cost]
    device: str
    slots: int = 1

    def run_seconds(self, group: RunGroup) -> float:
        """Return the wall time of one run of a group, in seconds."""
        recipe, cost = group.spec.recipe, self.networks[network_of(group.spec)]
        steps = recipe.epochs * math.ceil(group.train / recipe.batch_size)
        evaluations = sum(recipe.evaluates(epoch) for epoch in range(1, recipe.epochs + 1))
        return (
            steps * cost.step_seconds
            + evaluations * group.evaluated * cost.evaluation_seconds
            + RUN_OVERHEAD_SECONDS
        )

    def mean_run_seconds(self, groups: Sequence[RunGroup]) -> float:
        """Return the mean wall time of the runs in some groups, in seconds; 0 without groups."""
        runs = sum(group.runs for group in groups)
        return sum(group.runs * self.run_seconds(group) for group in groups) / max(1, runs)

    def phase_seconds(self, size: PhaseSize) -> float:
        """Return the wall time of a phase in seconds.

        It is computed from rounds that carry out as many runs as possible at a time. Runs from
        whose predictions labels are drawn precede the runs that wait for those labels.
        """
        label_sources = [group for group in size.groups if group.gives_labels]
        other_groups = [group for group in size.groups if not group.gives_labels]
        return sum(
            math.ceil(sum(group.runs for group in groups) / self.slots)
            * self.mean_run_seconds(groups)
            for groups in (label_sources, other_groups)
        )

    def plan_seconds(self, plan: Plan) -> float:
        """Return the wall time of a whole sweep, in seconds."""
        return START_SECONDS + sum(self.phase_seconds(size) for size in phase_sizes(plan))

    def plan_bytes(self, plan: Plan) -> float:
        """Return the size of the last checkpoints of all runs, in bytes.

        It includes the state that a method stores for each sample.
        """
        return sum(
            group.runs
            * (self.networks[network_of(group.spec)].checkpoint_bytes + group.state_bytes)
            for size in phase_sizes(plan)
            for group in size.groups
        )


def measure(plan: Plan, cache: Path | None) -> MachineCost:
    """Return the cost of a plan: each of its networks is measured, unless it was measured before.

    Args:
        plan: plan of the sweep.
        cache: folder in which measurements are stored; None to store none.

    Raises:
        NalError: if a network cannot be trained on this machine.
    """
    study = plan.study
    specs = [group.spec for size in phase_sizes(plan) for group in size.groups]
    # The last spec of each network is measured: one of confirm whose method has no stages.
    specs.sort(key=lambda spec: not method_of(spec.method).stages)
    networks = {network_of(spec): spec for spec in specs}
    costs = {network: measure_run(spec, plan, cache) for network, spec in networks.items()}
    slots = (os.cpu_count() or 1) // study.resources.cpus
    any_cost = next(iter(costs.values()))
    if any_cost.device.startswith("cuda"):
        slots = min(slots, math.floor(any_cost.devices / study.resources.gpus))
    return MachineCost(costs, any_cost.device, slots=max(1, slots))


def measure_run(spec: RunSpec, plan: Plan, cache: Path | None) -> Cost:
    """Return the cost of one run of a plan: it is measured, unless it was measured before.

    Args:
        spec: spec of the run.
        plan: plan that the run belongs to.
        cache: folder in which measurements are stored; None to store none.

    Raises:
        NalError: if the network cannot be trained on this machine.
    """
    key = _measurement_key(spec, plan)
    path = None if cache is None else cache / "costs.json"
    measurements = _read_measurements(path)
    if key not in measurements:
        measurements[key] = _probe(spec, plan)
        if path is not None:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, json.dumps(measurements, indent=1))
    return Cost(**measurements[key])


def _read_measurements(path: Path | None) -> dict[str, Any]:
    """Return the stored measurements by key; empty if the file is missing or damaged."""
    try:
        return dict(json.loads(path.read_text())) if path is not None else {}
    except (FileNotFoundError, ValueError):
        return {}  # measuring again takes seconds


def _measurement_key(spec: RunSpec, plan: Plan) -> str:
    """Return the key of a stored measurement: all settings that the cost of a run depends on."""
    recipe = spec.recipe
    key_parts = [
        platform.node(),
        spec.backbone,
        *(f"{k}={v}" for k, v in spec.backbone_parameters.items()),
        spec.method,
        *map(str, spec.recipe.input_shape(plan.dataset.image)),
        len(plan.dataset.classes),
        recipe.batch_size,
        recipe.precision,
        plan.study.resources.gpus,
        spec.threads,
        spec.revision,
    ]
    return " ".join(map(str, key_parts))


def _probe(spec: RunSpec, plan: Plan) -> dict[str, Any]:
    """Measure the cost of a run in a separate process, and return the fields of its `Cost`.

    Raises:
        NalError: if the network cannot be trained on this machine.
    """
    request = {
        "spec": spec.to_dict(),
        "image": spec.recipe.input_shape(plan.dataset.image),
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
        names = f"{without_hash(spec.method)} with {without_hash(spec.backbone)}"
        raise NalError(f"a step of {names} cannot be trained on this machine: {last_line}")
    return dict(json.loads(process.stdout))


def format_size(size: float) -> str:
    """Format a number of bytes, for example "12 MB" or "13.5 GB"."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def format_duration(seconds: float) -> str:
    """Format a duration, for example "40 s", "12 min", "3.5 h" or "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
