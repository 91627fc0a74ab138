"""Estimate of the time and disk space that a sweep takes on this machine, before it starts."""

from __future__ import annotations

import base64
import json
import math
import os
import platform
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from orchestrator.interpreter import module_command
from orchestrator.planning.load import LoadMeter
from orchestrator.planning.run_times import time_ratio
from orchestrator.planning.sizes import NetworkKey, PhaseSize, RunGroup, network_key, phase_sizes
from trainables.cpus import gpu_description, has_bf16_instructions, processor_name, usable_cpu_count
from trainables.errors import NalError
from trainables.extensions import loaded_files, without_hash
from trainables.methods import method_of
from trainables.run.provenance import package_versions
from trainables.run.record import write_atomically
from trainables.run.spec import REVISION
from trainables.training.cost import Cost
from trainables.training.job import gpu_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan
    from trainables.run.spec import RunSpec

ENGINE_STARTS = 8.0
"""Wall time to start Ray and its workers, as a multiple of that of one process that trains.

Both consist of starting processes that import much, so that they depend on the machine alike."""
OVERHEAD_STARTS = 0.16
"""Wall time that Ray, Optuna and MLflow add to each run, as a multiple of that of the start of one
process that trains."""
MAX_CONCURRENT_PROBES = 8
"""Largest number of processes that measure the cost of a run at the same time."""
MIN_FREE_FRACTION = 0.9
"""Smallest number of CPUs that other processes may leave free during a measurement that is used
again, as a fraction of the number of the run's threads."""


@dataclass(frozen=True, slots=True)
class MachineCost:
    """Measured cost of training on a machine, from which the cost of a sweep is estimated.

    Attributes:
        costs_by_network: measured cost of training each network of a plan.
        device: name of the device on which the costs were measured.
        max_concurrent_runs: number of runs that the machine carries out at the same time.
        start_seconds: wall time until the engine trains the first run, in seconds.
    """

    costs_by_network: Mapping[NetworkKey, Cost]
    device: str
    max_concurrent_runs: int = 1
    start_seconds: float = 0.0

    def run_seconds(self, group: RunGroup) -> float:
        """Estimate the wall time of one run of a group, in seconds."""
        cost = self.costs_by_network[network_key(group.spec)]
        counts = (group.train_count, group.evaluated_count)
        return cost.training_seconds(group.spec.recipe, *counts) + self.overhead_seconds(group)

    def overhead_seconds(self, group: RunGroup) -> float:
        """Estimate the wall time that each run of a group takes besides training, in seconds."""
        return OVERHEAD_STARTS * self.costs_by_network[network_key(group.spec)].start_seconds

    def mean_run_seconds(self, groups: Sequence[RunGroup]) -> float:
        """Estimate the mean wall time of the runs in some groups, in seconds; 0 without groups."""
        run_count = sum(group.run_count for group in groups)
        total_seconds = sum(group.run_count * self.run_seconds(group) for group in groups)
        return total_seconds / max(1, run_count)

    def phase_seconds(self, size: PhaseSize) -> float:
        """Estimate the wall time of a phase of the sweep, in seconds.

        The machine is assumed to carry out runs in rounds of `max_concurrent_runs`, or of as many
        as the phase allows. The runs whose predictions determine noisy labels come first, in rounds
        of their own.
        """
        slots = min(self.max_concurrent_runs, size.max_concurrent_runs or self.max_concurrent_runs)
        label_source_groups = [group for group in size.groups if group.is_label_source]
        other_groups = [group for group in size.groups if not group.is_label_source]
        return sum(
            math.ceil(sum(group.run_count for group in groups) / slots)
            * self.mean_run_seconds(groups)
            for groups in (label_source_groups, other_groups)
        )

    def plan_seconds(self, plan: Plan) -> float:
        """Estimate the wall time of a whole sweep, in seconds."""
        return self.start_seconds + sum(self.phase_seconds(size) for size in phase_sizes(plan))

    def emulates_bf16(self, plan: Plan) -> bool:
        """Return whether runs of a plan train in bf16 on a processor that only emulates it."""
        return (
            self.device.startswith("cpu")
            and not has_bf16_instructions()
            and any(
                group.spec.recipe.precision == "bf16"
                for size in phase_sizes(plan)
                for group in size.groups
            )
        )

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


def measure_machine_cost(
    plan: Plan,
    home: Home,
    *,
    engine_limit: int | None,
    starts_workers: bool,
    may_write: bool,
) -> MachineCost:
    """Measure the cost of training each network of a plan on this machine.

    On a CPU, as many runs are measured at the same time as will be trained, since they share its
    caches and memory. Measurements that are stored in the home folder and still valid are not
    repeated. Times are corrected by those that similar runs in the home folder took.

    Args:
        plan: plan of the sweep.
        home: home folder, in whose cache measurements are stored.
        engine_limit: largest number of runs that the engine carries out at a time; None if only
            CPUs and GPUs limit the number.
        starts_workers: whether the engine trains runs in worker processes that it starts first.
        may_write: whether new measurements may be stored.

    Raises:
        NalError: if a network cannot be trained on this machine.
    """
    resources = plan.study.resources
    specs = [group.spec for size in phase_sizes(plan) for group in size.groups]
    # The last spec of each network is measured: one of confirm whose method needs no other runs.
    specs.sort(key=lambda spec: not method_of(spec.method).stages)
    specs_by_network = {network_key(spec): spec for spec in specs}
    max_runs = max(1, usable_cpu_count() // resources.cpus)
    max_local_runs = min(max_runs, engine_limit or max_runs)
    uses_gpu = bool(resources.gpus and gpu_description())
    probe_count = 1 if uses_gpu else min(max_local_runs, MAX_CONCURRENT_PROBES)
    costs_by_network = {
        network: measure_run_cost(spec, plan, home, probe_count=probe_count, may_write=may_write)
        for network, spec in specs_by_network.items()
    }
    any_cost = next(iter(costs_by_network.values()))
    if any_cost.device.startswith("cuda"):
        max_runs = min(max_runs, max(1, math.floor(any_cost.devices / resources.gpus)))
    process_start_seconds = max(cost.start_seconds for cost in costs_by_network.values())
    return MachineCost(
        costs_by_network,
        any_cost.device,
        max_concurrent_runs=engine_limit or max_runs,
        start_seconds=ENGINE_STARTS * process_start_seconds if starts_workers else 0.0,
    )


def measure_run_cost(
    spec: RunSpec, plan: Plan, home: Home, *, probe_count: int = 1, may_write: bool
) -> Cost:
    """Measure the cost of one run of a plan on this machine.

    A measurement that is stored in the home folder is used again, unless the processor, PyTorch or
    the training code has changed since, or other processes took CPUs from it while it was made.
    The time is corrected by the times that similar runs in the home folder took.

    Args:
        spec: spec of the run.
        plan: plan that the run belongs to.
        home: home folder, in whose cache measurements are stored.
        probe_count: number of runs to measure at the same time.
        may_write: whether a new measurement may be stored.

    Raises:
        NalError: if the network cannot be trained on this machine.
    """
    key = _measurement_key(spec, plan, probe_count)
    conditions = _measurement_conditions()
    path = home.cache_dir / "costs.json"
    measurements = _read_measurements(path)
    cost = _usable_cost(measurements.get(key), conditions, probe_count * spec.threads)
    if cost is None:
        load_meter = LoadMeter()
        cost = _measure_concurrently(spec, plan, probe_count)
        if may_write:
            measurement = {
                "cost": asdict(cost),
                "conditions": conditions,
                "free_cpus": round(load_meter.free_cpus(), 2),
            }
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, json.dumps({**measurements, key: measurement}, indent=1))
    return cost.slower_by(time_ratio(cost, spec, plan.dataset, home.path))


def _read_measurements(path: Path) -> dict[str, Any]:
    """Return the stored measurements by key; an empty dict if the file is missing or damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}  # measuring again takes seconds


def _usable_cost(
    measurement: Any,  # noqa: ANN401 - JSON
    conditions: Mapping[str, str | int],
    thread_count: int,
) -> Cost | None:
    """Return the cost of a stored measurement; None if it is missing, damaged or no longer valid.

    A measurement is valid under the conditions of its time, if other processes left the run the
    CPUs for its threads (`MIN_FREE_FRACTION`).

    Args:
        measurement: stored measurement; None if there is none.
        conditions: what a measurement depends on besides the run.
        thread_count: number of threads of all runs that were measured at the same time.
    """
    try:
        needed_cpus = MIN_FREE_FRACTION * min(thread_count, usable_cpu_count())
        if measurement["conditions"] == conditions and measurement["free_cpus"] >= needed_cpus:
            return Cost(**measurement["cost"])
    except (KeyError, TypeError, ValueError):
        pass
    return None


def _measurement_conditions() -> dict[str, str | int]:
    """Return what a measurement depends on besides the run: processor, GPUs and versions."""
    return {
        "processor": processor_name(),
        "gpus": gpu_description(),
        "torch": package_versions()["torch"],
        "revision": REVISION,
    }


def _measurement_key(spec: RunSpec, plan: Plan, probe_count: int) -> str:
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
        probe_count,
    ]
    return " ".join(map(str, key_parts))


def _measure_concurrently(spec: RunSpec, plan: Plan, probe_count: int) -> Cost:
    """Measure the cost of a run in several processes at the same time, and return the mean cost.

    Raises:
        NalError: if the network cannot be trained on this machine.
    """
    with ThreadPoolExecutor(probe_count) as executor:
        costs = list(executor.map(lambda _: _measure_in_subprocess(spec, plan), range(probe_count)))
    return replace(
        costs[0],
        step_seconds=fmean(cost.step_seconds for cost in costs),
        evaluation_seconds=fmean(cost.evaluation_seconds for cost in costs),
        start_seconds=fmean(cost.start_seconds for cost in costs),
    )


def _measure_in_subprocess(spec: RunSpec, plan: Plan) -> Cost:
    """Measure the cost of a run in a separate process.

    Raises:
        NalError: if the network cannot be trained on this machine.
    """
    request = {
        "spec": spec.to_dict(),
        "image": spec.recipe.input_shape(plan.dataset.image_shape),
        "classes": len(plan.dataset.classes),
        "code": {file.path: base64.b64encode(file.content).decode() for file in loaded_files()},
        "started_at": time.time(),
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
    return Cost(**json.loads(process.stdout))


def format_size(byte_count: float) -> str:
    """Format a number of bytes, for example "34 kB", "12 MB" or "13.5 GB"."""
    if byte_count < 1e6:
        return f"{byte_count / 1e3:.0f} kB"
    return f"{byte_count / 1e6:.0f} MB" if byte_count < 1e9 else f"{byte_count / 1e9:.1f} GB"


SECONDS_BY_UNIT = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
"""Length of each unit of time that a user may write, in seconds."""

DURATION_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.ASCII)
"""Pattern of a duration that a user may write: a number and a unit."""


def parse_duration(text: str) -> float:
    """Return the length of a duration, such as "90s", "45min", "1.5h" or "2d", in seconds.

    Raises:
        ValueError: if the text is no duration, or the duration is 0.
    """
    match = DURATION_PATTERN.fullmatch(text.strip().lower())
    seconds = float(match[1]) * SECONDS_BY_UNIT.get(match[2], 0.0) if match else 0.0
    if not 0 < seconds < math.inf:
        raise ValueError(f"must be a time such as 90s, 45min, 1.5h or 2d, got '{text}'")
    return seconds


def format_duration(seconds: float) -> str:
    """Format a duration, for example "40 s", "12 min", "3.5 h", "2.1 days" or "13 years"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    days = seconds / 86400
    if days < 365:
        return f"{days:.1f} days" if days < 10 else f"{days:.0f} days"
    years = days / 365.25
    return f"{years:.1f} years" if years < 10 else f"{years:.0f} years"
