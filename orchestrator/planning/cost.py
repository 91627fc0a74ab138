"""What a plan costs on this machine, measured before it is begun."""

from __future__ import annotations

import base64
import json
import math
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.planning.sizes import Load, Network, PhaseSize, network_of, phase_sizes
from trainables.errors import NalError
from trainables.extensions import loaded_files
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
"""Of orchestration, per run."""
START_SECONDS = 15.0
"""Of Ray and its workers, once."""


@dataclass(frozen=True, slots=True)
class MachineCost:
    """What runs cost on a machine, and how many go at once.

    Attributes:
        networks: measured costs by network.
        device: where they were measured.
        slots: runs that go at once.
    """

    networks: Mapping[Network, Cost]
    device: str
    slots: int = 1

    def run_seconds(self, load: Load) -> float:
        """Return the wall time of one run."""
        recipe, cost = load.spec.recipe, self.networks[network_of(load.spec)]
        steps = recipe.epochs * math.ceil(load.train / recipe.batch_size)
        evaluations = sum(recipe.evaluates(epoch) for epoch in range(1, recipe.epochs + 1))
        return (
            steps * cost.step_seconds
            + evaluations * load.evaluated * cost.evaluation_seconds
            + RUN_OVERHEAD_SECONDS
        )

    def mean_run_seconds(self, loads: Sequence[Load]) -> float:
        """Return the mean wall time of runs; 0 without any."""
        runs = sum(load.runs for load in loads)
        return sum(load.runs * self.run_seconds(load) for load in loads) / max(1, runs)

    def phase_seconds(self, size: PhaseSize) -> float:
        """Return the wall time of a phase: full rounds of all slots at once.

        Runs that labels are drawn from go before those that wait for them.
        """
        first = [load for load in size.loads if load.gives_labels]
        others = [load for load in size.loads if not load.gives_labels]
        return sum(
            math.ceil(sum(load.runs for load in loads) / self.slots) * self.mean_run_seconds(loads)
            for loads in (first, others)
        )

    def plan_seconds(self, plan: Plan) -> float:
        """Return the wall time of a whole sweep."""
        return START_SECONDS + sum(self.phase_seconds(size) for size in phase_sizes(plan))

    def plan_bytes(self, plan: Plan) -> float:
        """Return the disk space of the runs' last checkpoints, per-sample state included."""
        return sum(
            load.runs * (self.networks[network_of(load.spec)].checkpoint_bytes + load.state_bytes)
            for size in phase_sizes(plan)
            for load in size.loads
        )


def measure(plan: Plan, cache: Path | None) -> MachineCost:
    """Measure one run of each network of a plan, or recall an earlier measurement.

    Args:
        plan: what is to be carried out.
        cache: folder in which measurements are kept; None to keep none.

    Raises:
        NalError: a network cannot be trained here; says why.
    """
    study = plan.study
    specs = [load.spec for size in phase_sizes(plan) for load in size.loads]
    # The last one of a network counts: of confirm, and of a method that needs no other run.
    specs.sort(key=lambda spec: not method_of(spec.method).stages)
    networks = {network_of(spec): spec for spec in specs}
    costs = {network: measure_run(spec, plan, cache) for network, spec in networks.items()}
    slots = (os.cpu_count() or 1) // study.resources.cpus
    measured = next(iter(costs.values()))
    if measured.device.startswith("cuda"):
        slots = min(slots, math.floor(measured.devices / study.resources.gpus))
    return MachineCost(costs, measured.device, slots=max(1, slots))


def measure_run(spec: RunSpec, plan: Plan, cache: Path | None) -> Cost:
    """Measure, or recall, one run of a plan.

    Raises:
        NalError: as for `measure`.
    """
    key = _key(spec, plan)
    path = None if cache is None else cache / "costs.json"
    known = _recall(path)
    if key not in known:
        known[key] = _probe(spec, plan)
        if path is not None:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, json.dumps(known, indent=1))
    return Cost(**known[key])


def _recall(path: Path | None) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text())) if path is not None else {}
    except (FileNotFoundError, ValueError):
        return {}  # measured again in seconds


def _key(spec: RunSpec, plan: Plan) -> str:
    recipe = spec.recipe
    parts = [
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
    return " ".join(map(str, parts))


def _probe(spec: RunSpec, plan: Plan) -> dict[str, Any]:
    asked = {
        "spec": spec.to_dict(),
        "image": spec.recipe.input_shape(plan.dataset.image),
        "classes": len(plan.dataset.classes),
        "code": {file.path: base64.b64encode(file.content).decode() for file in loaded_files()},
    }
    done = subprocess.run(
        [sys.executable, "-m", "trainables.training.probe"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | gpu_environment(plan.study.resources.gpus),
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NalError(f"a step of {spec.backbone} cannot be trained on this machine: {last}")
    return dict(json.loads(done.stdout))


def size_text(size: float) -> str:
    """Write a number of bytes for people: "12 MB", "13.5 GB"."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def duration(seconds: float) -> str:
    """Write a duration for people: "40 s", "12 min", "3.5 h", "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
