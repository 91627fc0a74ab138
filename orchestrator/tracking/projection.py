"""Conversion of a run's result into MLflow tags, parameters, metrics and artifacts."""

from __future__ import annotations

import json
import math
import time
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from reports.words import GREEK_LETTERS
from search_spaces.schema import Phase
from trainables.extensions import is_extension, without_hash
from trainables.methods import method_of
from trainables.run.identity import digest_of
from trainables.run.protocols import HeldOutMean, protocol_of, read_protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.entities import Metric

    from reports.plan_record import CellRecord, PlanRecord
    from trainables.run.parameters import Value
    from trainables.run.protocols import Protocol
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec

Purpose = Phase | Literal["train"]
"""Phase of the sweep that a run is part of; "train" for a run of the command `train`."""

PARENT_TAG = "mlflow.parentRunId"
"""MLflow tag with the ID of the parent, below which MLflow shows a run."""

MAX_VALUE_LENGTH = 500
"""Largest length of the value of a tag or parameter, in characters."""


def cell_id(spec: RunSpec, fixed_seeds: Mapping[str, int]) -> str:
    """Return the digest of a cell: all seeds of one method, scenario and values.

    It is the digest of a spec without its seeds and without the runs that the run needs. Cells of
    two sweeps that differ only in their seeds therefore have the same digest. Seeds that the study
    holds fixed are included, since they change the meaning of the standard deviation.

    Args:
        spec: spec of any run of the cell.
        fixed_seeds: seeds that the study holds fixed, by random axis, such as "noise".
    """
    identity = spec.identity()
    identity.pop("needs", None)  # follows from the seeds
    identity["seeds"] = dict(fixed_seeds)
    return digest_of(identity)


def run_tags(result: RunResult, phase: Purpose, study: str, sweep: str = "") -> dict[str, str]:
    """Return the MLflow tags of a run: its status, its provenance, its study and its sweep.

    Args:
        result: result of the run.
        phase: phase of the run, or "train".
        study: name of the run's study.
        sweep: digest of the run's sweep; "" for a run outside of sweeps.
    """
    tags = {
        **{f"nal.{name}": value for name, value in result.provenance.items()},
        "nal.kind": "run",
        "nal.digest": result.digest,
        "nal.phase": str(phase),
        "nal.study": study,
        "nal.status": str(result.status),
        "nal.reason": result.reason,
        "nal.converged": "yes" if result.converged else "no",
        "nal.data": result.spec.data,
        "nal.labels": result.labels.sha256,
        "nal.labels_count": str(result.labels.count),
        "nal.network_parameters": str(result.parameters),
        "nal.attempts": str(result.attempts),
    }
    if sweep:
        tags["nal.sweep"] = sweep
    if commit := result.provenance.get("commit"):
        tags["mlflow.source.git.commit"] = commit
    return {name: value[:MAX_VALUE_LENGTH] for name, value in tags.items()}


def run_name(spec: RunSpec, phase: Purpose) -> str:
    """Return the name of a run in MLflow.

    It begins with what differs between the runs that MLflow lists together. A run of the confirm
    phase is named "seed 0 nal λ=1 α=0.9 symmetric-0.4", any other run "λ=1 α=0.9 nal symmetric-0.4
    seed 0".

    Args:
        spec: spec of the run.
        phase: phase of the run, or "train".
    """
    values = _format_values({name: spec.hyperparameters[name] for name in _tunable_names(spec)})
    seed = f"seed {spec.seeds.init}"
    parts = [values, spec.method, spec.scenario, seed]
    if phase == Phase.CONFIRM:
        parts = [seed, spec.method, values, spec.scenario]
    return " ".join(filter(None, parts))


def _tunable_names(spec: RunSpec) -> list[str]:
    """Return the names of the hyperparameters that a search may vary.

    Code from outside the package is not imported. Of its methods, all floats are returned.
    """
    if is_extension(spec.method):
        return [name for name, value in spec.hyperparameters.items() if isinstance(value, float)]
    return [p.name for p in method_of(spec.method).parameters if p.space is not None]


def cell_name(method: str, scenario: str, values: Mapping[str, Value]) -> str:
    """Return the name of a cell in MLflow, such as "nal λ=1 α=0.9 symmetric-0.4"."""
    return " ".join(filter(None, [method, _format_values(values), scenario]))


def _format_values(values: Mapping[str, Value]) -> str:
    return " ".join(
        f"{GREEK_LETTERS.get(name, name)}={_format_value(v)}" for name, v in values.items()
    )


def run_params(spec: RunSpec) -> dict[str, str]:
    """Return the settings of a run as MLflow parameters, named by the keys of a study."""
    recipe, backbone = spec.recipe, without_hash(spec.backbone)
    params: dict[str, object] = {
        **{f"{backbone}.{name}": v for name, v in spec.backbone_parameters.items()},
        **spec.hyperparameters,
        "method": spec.method,
        "scenario": spec.scenario,
        "seed": spec.seeds.init,
        "dataset": spec.dataset,
        "subset": "all" if spec.subset is None else spec.subset,
        "backbone": spec.backbone,
        "hold_out": spec.hold_out,
        "evaluate": ", ".join(spec.evaluate),
        "threads": spec.threads,
        "revision": spec.revision,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer,
        "learning_rate": recipe.learning_rate,
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        "schedule": recipe.schedule.kind,
        "augmentation": ", ".join(recipe.augmentation) or "none",
        "precision": recipe.precision,
    }
    return {name: str(value)[:MAX_VALUE_LENGTH] for name, value in params.items()}


def numeric_settings(values: Mapping[str, Value]) -> dict[str, float]:
    """Return the numeric hyperparameters as MLflow metrics, which MLflow can sort by number.

    MLflow sorts its parameters as texts.

    Args:
        values: values of hyperparameters by name.

    Returns:
        Numeric values by metric name, such as "hp/lambda".
    """
    return {
        f"hp/{name}": float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def protocol_in(
    plan: PlanRecord | None, result: RunResult, phase: Purpose, cell: CellRecord | None
) -> Protocol:
    """Return the protocol of a run: the rule that names the epochs over which metrics are averaged.

    Runs under the matched recipe have the protocol of their sweep. The other runs have the default
    protocol of their learning-rate schedule. They are runs with another recipe, runs that only
    supply other runs of the confirm phase, and runs without a sweep.

    Args:
        plan: plan of the sweep; None for a run without a sweep.
        result: result of the run.
        phase: phase of the run, or "train".
        cell: cell of the run in the confirm phase; None if it has none.
    """
    recipe, scenario = result.spec.recipe, result.spec.scenario
    if plan is None:
        return protocol_of(recipe)
    if not plan.protocols:  # a plan of a version that had only this protocol
        return HeldOutMean(recipe.window)
    matched = not cell.recipe if cell else phase in (Phase.SEARCH, Phase.SELECT)
    identity = plan.protocols.get(scenario) if matched else None
    return read_protocol(identity) if identity else protocol_of(recipe)


def metric_points(
    result: RunResult, ended_ms: int | None = None, protocol: Protocol | None = None
) -> list[Metric]:
    """Return the MLflow metrics of a run.

    They are its metrics after every epoch, and its summary and numeric settings at the last epoch.

    Args:
        result: result of the run.
        ended_ms: end of the run in milliseconds since 1970; None for now. The times of earlier
            epochs follow from the seconds that the epochs took.
        protocol: rule that names the epochs over which metrics are averaged; None for the default
            of the run's learning-rate schedule.
    """
    from mlflow.entities import Metric

    end = int(time.time() * 1000) if ended_ms is None else ended_ms
    start = end - int(1000 * sum(result.seconds))
    times = [start + int(1000 * seconds) for seconds in accumulate(result.seconds)]
    times += [end] * (len(result.trace) - len(times))
    points = [
        Metric(metric, value, time_ms, int(row["epoch"]))
        for row, time_ms in zip(result.trace, times, strict=False)
        for metric, value in row.items()
        if metric != "epoch"
    ]
    epochs = [int(epoch) for epoch in result.diagnostics.get("epoch", [])]
    points += (
        Metric(
            f"diagnostics/{name}", value, times[epoch - 1] if epoch <= len(times) else end, epoch
        )
        for name, values in result.diagnostics.items()
        for epoch, value in zip(epochs, values, strict=True)
        if name != "epoch" and math.isfinite(value)
    )
    last_epoch = int(result.trace[-1]["epoch"]) if result.trace else 0
    rates = {"flip_rate": result.labels.flip_rate, "nominal_rate": result.labels.nominal_rate}
    numbers = {
        **result.summary(protocol),
        **{name: rate for name, rate in rates.items() if rate is not None},
        "skipped": float(result.skipped),
        **numeric_settings(result.spec.hyperparameters),
        "seed": float(result.spec.seeds.init),
    }
    return points + [Metric(name, value, end, last_epoch) for name, value in numbers.items()]


def artifacts(result: RunResult) -> dict[str, str]:
    """Return the contents of a run's MLflow artifacts by file name."""
    return {
        "spec.json": json.dumps(result.spec.to_dict(), indent=1),
        "transition.json": json.dumps(result.labels.transition),
    }


def _format_value(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
