"""What a plan costs on this machine, measured before it is begun."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.planning.sizes import phase_sizes, posterior_load
from trainables.cost import Cost
from trainables.errors import NalError
from trainables.record import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.planning.plan import Plan
    from orchestrator.planning.sizes import Load, PhaseSize
    from trainables.spec import RunSpec

RUN_OVERHEAD_SECONDS = 0.3
"""Of orchestration, per run."""
START_SECONDS = 15.0
"""Of Ray and its workers, once."""


@dataclass(frozen=True, slots=True)
class MachineCost(Cost):
    """Measured costs, and how many runs go at once.

    Attributes:
        slots: runs that go at once.
        posterior: of the networks that label noise is drawn from; None where there are none.
    """

    slots: int = 1
    posterior: Cost | None = None

    def mean_run_seconds(self, size: PhaseSize) -> float:
        """Return the mean wall time of a phase's runs."""
        return sum(load.runs * run_seconds(self, load) for load in size.loads) / size.runs

    def phase_seconds(self, size: PhaseSize) -> float:
        """Return the wall time of a phase: full rounds of all slots at once."""
        return math.ceil(size.runs / self.slots) * self.mean_run_seconds(size)

    def plan_seconds(self, plan: Plan) -> float:
        """Return the wall time of a whole sweep."""
        phases = sum(self.phase_seconds(size) for size in phase_sizes(plan))
        return START_SECONDS + self.posterior_seconds(plan) + phases

    def posterior_seconds(self, plan: Plan) -> float:
        """Return the wall time of the networks that come first, see `Plan.lacking`."""
        lacking = plan.lacking
        if self.posterior is None or not lacking:
            return 0.0
        load = posterior_load(plan, lacking[0])
        return math.ceil(len(lacking) / self.slots) * run_seconds(self.posterior, load)

    def plan_bytes(self, plan: Plan) -> float:
        """Return the disk space of the runs' last checkpoints, per-sample state included."""
        loads = [load for size in phase_sizes(plan) for load in size.loads]
        before = 0 if self.posterior is None else self.posterior.checkpoint_bytes
        return len(plan.lacking) * before + sum(
            load.runs * (self.checkpoint_bytes + load.state_bytes) for load in loads
        )


def run_seconds(cost: Cost, load: Load) -> float:
    """Return the wall time of one run."""
    recipe = load.spec.recipe
    steps = recipe.epochs * math.ceil(load.train / recipe.batch_size)
    evaluations = sum(recipe.evaluates(epoch) for epoch in range(1, recipe.epochs + 1))
    return (
        steps * cost.step_seconds
        + evaluations * load.evaluated * cost.evaluation_seconds
        + RUN_OVERHEAD_SECONDS
    )


def measure(plan: Plan, cache: Path | None) -> MachineCost:
    """Measure the plan's first run on this machine, or recall an earlier measurement.

    Args:
        plan: what is to be carried out.
        cache: folder in which measurements are kept; None to keep none.

    Raises:
        NalError: the network cannot be trained here; says why.
    """
    study = plan.study
    measured = measure_run(phase_sizes(plan)[-1].loads[0].spec, plan, cache)
    slots = (os.cpu_count() or 1) // study.resources.cpus
    if measured.device.startswith("cuda"):
        slots = min(slots, math.floor(measured.devices / study.resources.gpus))
    networks = plan.posteriors
    posterior = measure_run(networks[0], plan, cache) if networks else None
    return MachineCost(**asdict(measured), slots=max(1, slots), posterior=posterior)


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
        known: dict[str, Any] = json.loads(path.read_text()) if path is not None else {}
    except (FileNotFoundError, ValueError):
        return {}  # measured again in seconds
    return known


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


def environment_of(gpus: float) -> dict[str, str]:
    """Return what a process outside Ray is told: a study that asks for no GPU sees none."""
    return {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}


def _probe(spec: RunSpec, plan: Plan) -> dict[str, Any]:
    asked = {
        "spec": spec.to_dict(),
        "image": spec.recipe.input_shape(plan.dataset.image),
        "classes": len(plan.dataset.classes),
    }
    done = subprocess.run(
        [sys.executable, "-m", "trainables.probe"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment_of(plan.study.resources.gpus),
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NalError(f"a step of {spec.backbone} cannot be trained on this machine: {last}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


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
