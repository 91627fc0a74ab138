"""Conversion of the results of runs into MLflow tags, parameters, metrics and artifacts."""

from __future__ import annotations

import json
import math
import time
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from reports.words import GREEK_LETTERS, in_order
from search_spaces.fields import RECIPE_PARAMETERS
from search_spaces.schema import Phase
from trainables.extensions import is_extension, without_hash
from trainables.methods import method_of
from trainables.run.identity import digest_of
from trainables.run.parameters import active_spaces
from trainables.run.protocols import HeldOutMean, protocol_from_identity, protocol_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mlflow.entities import DatasetInput, Metric

    from reports.plan_record import CellRecord, PlanRecord
    from trainables.run.parameters import Value
    from trainables.run.protocols import Protocol
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec

RunPhase = Phase | Literal["train"]
"""Phase of a sweep (search, select or confirm) that a run belongs to; "train" without a sweep."""

PARENT_TAG = "mlflow.parentRunId"
"""Name of the MLflow tag that holds the ID of a run's parent, below which MLflow shows the run."""

MAX_VALUE_LENGTH = 500
"""Largest length of the value of an MLflow tag or parameter, in characters."""

DATASET_DIGEST_LENGTH = 36
"""Largest length of the digest of an MLflow dataset, in characters."""

SHORT_NAMES = {**GREEK_LETTERS, "learning_rate": "lr", "weight_decay": "wd"}
"""Short names of searched values in the names of MLflow runs, of which pages show the start."""


def cell_digest(spec: RunSpec, fixed_seeds: Mapping[str, int]) -> str:
    """Return the digest of a cell: all runs that differ only in their seed.

    The digest is computed from the spec of a run without its seeds and needed runs. Cells of two
    sweeps that differ only in their seeds therefore have the same digest. Seeds that the study
    holds fixed are included, since they change the meaning of the standard deviation.

    Args:
        spec: spec of any run of the cell.
        fixed_seeds: seeds that the study holds fixed, by the name of what they randomise, such as
            "noise".
    """
    identity = spec.identity()
    identity.pop("needs", None)  # follows from the seeds
    identity["seeds"] = dict(fixed_seeds)
    return digest_of(identity)


def run_tags(result: RunResult, phase: RunPhase, study: str, sweep: str = "") -> dict[str, str]:
    """Return the MLflow tags of a run: status, provenance, study and sweep.

    Args:
        result: result of the run.
        phase: phase of the run; "train" for a run without a sweep.
        study: name of the run's study.
        sweep: digest of the run's sweep; "" for a run without a sweep.
    """
    tags = {
        **source_tags(study, "sweep" if sweep else "train"),
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


def source_tags(study: str, command: str) -> dict[str, str]:
    """Return the tags that fill MLflow's columns for the user and the source of a run.

    The user is the one that MLflow records by default: who writes to the store.

    Args:
        study: name of the study.
        command: command that writes the run, such as "sweep".
    """
    # MLflow's own name of the source is the absolute path of a program.
    return _default_tags() | {"mlflow.source.name": f"orchestrator {command} {study}"}


@cache
def _default_tags() -> dict[str, str]:
    from mlflow.tracking.context.default_context import DefaultRunContext

    tags: dict[str, str] = DefaultRunContext().tags()  # type: ignore[no-untyped-call]
    return tags


def run_name(
    spec: RunSpec,
    phase: RunPhase,
    searched: Collection[str] = (),
    fixed_axes: Collection[str] = (),
) -> str:
    """Return the name of a run in MLflow, such as "λ=1 α=0.9 nal symmetric-0.4 seed 0".

    Names of runs in the confirm phase begin with the seed, since MLflow lists the seeds of a cell
    together: "seed 0 nal λ=1 α=0.9 symmetric-0.4".

    Args:
        spec: spec of the run.
        phase: phase of the run; "train" for a run without a sweep.
        searched: names of the values that the sweep searches or varies for the method, of the
            recipe too.
        fixed_axes: names of the random axes whose seed the study holds fixed.
    """
    recipe_names = [name for name in RECIPE_PARAMETERS if name in searched]
    names = [*_tunable_names(spec), *(name for name in spec.hyperparameters if name in searched)]
    values_text = _format_values(
        {name: spec.hyperparameters[name] for name in dict.fromkeys(names)}
        | {name: getattr(spec.recipe, name) for name in recipe_names}
    )
    seed_text = f"seed {spec.seeds.base_seed(fixed_axes)}"
    words = [values_text, spec.method, spec.scenario, seed_text]
    if phase == Phase.CONFIRM:
        words = [seed_text, spec.method, values_text, spec.scenario]
    return " ".join(filter(None, words))


def searched_names(plan: PlanRecord, spec: RunSpec, cell: CellRecord | None) -> set[str]:
    """Return the names of the values of a run that a sweep searches or varies.

    Args:
        plan: plan of the sweep.
        spec: spec of the run.
        cell: cell whose settings the run has; None for a run that belongs to no cell.
    """
    values = {**_recipe_values(spec), **spec.hyperparameters}
    spaces = [search.space for search in plan.searches if search.method == spec.method]
    active_names = {name for space in spaces for name in active_spaces(space, values)}
    return active_names | set(cell.values if cell else ())


def crossed_cell(plan: PlanRecord, digest: str) -> CellRecord | None:
    """Return the cell to which a run with crossed seeds belongs; None for any other run.

    Such a run has the settings of its cell, but is not one of its seeds.

    Args:
        plan: plan of the sweep.
        digest: digest of the run.
    """
    for cell in plan.cells:
        if cell.crossed and digest in cell.crossed.digests:
            return cell
    return None


def _tunable_names(spec: RunSpec) -> list[str]:
    """Return the names of a method's hyperparameters that a search may vary.

    For methods from outside the package, whose code is not imported here, these are all
    hyperparameters with a float value.
    """
    if is_extension(spec.method):
        return [name for name, value in spec.hyperparameters.items() if isinstance(value, float)]
    return [
        parameter.name
        for parameter in method_of(spec.method).parameters
        if parameter.space is not None
    ]


def cell_name(method: str, scenario: str, values: Mapping[str, Value]) -> str:
    """Return the MLflow name of a cell (all seeds of a setting): "nal λ=1 α=0.9 symmetric-0.4"."""
    return " ".join(filter(None, [method, _format_values(values), scenario]))


def _format_values(values: Mapping[str, Value]) -> str:
    return " ".join(
        f"{SHORT_NAMES.get(name, name)}={_format_value(value)}"
        for name, value in in_order(values).items()
    )


def run_params(spec: RunSpec, fixed_axes: Collection[str] = ()) -> dict[str, str]:
    """Return the settings of a run as MLflow parameters, by their key in a study file.

    Args:
        spec: spec of the run.
        fixed_axes: names of the random axes whose seed the study holds fixed.
    """
    recipe, backbone = spec.recipe, without_hash(spec.backbone)
    params: dict[str, object] = {
        **{f"{backbone}.{name}": value for name, value in spec.backbone_parameters.items()},
        **spec.hyperparameters,
        "method": spec.method,
        "scenario": spec.scenario,
        "seed": spec.seeds.base_seed(fixed_axes),
        "dataset": spec.dataset,
        "subset": "all" if spec.subset is None else spec.subset,
        "test_subset": "all" if spec.test_subset is None else spec.test_subset,
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


def numeric_settings(spec: RunSpec) -> dict[str, float]:
    """Return the numbers that a search may vary as MLflow metrics, such as "hp/lambda".

    They are the numeric hyperparameters and the searchable values of the recipe. MLflow sorts and
    compares metrics as numbers, but parameters as text.

    Args:
        spec: spec of a run.
    """
    return {
        f"hp/{name}": float(value)
        for name, value in {**_recipe_values(spec), **spec.hyperparameters}.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _recipe_values(spec: RunSpec) -> dict[str, Value]:
    """Return the values of the recipe that a search may vary."""
    return {name: getattr(spec.recipe, name) for name in RECIPE_PARAMETERS}


def protocol_for(
    plan: PlanRecord | None, result: RunResult, phase: RunPhase, cell: CellRecord | None
) -> Protocol:
    """Return the protocol of a run: the rule that selects the averaged epochs.

    Runs with the matched recipe (the one that all methods of a study share) follow the protocol of
    their sweep. All other runs follow the default protocol of their learning-rate schedule.

    Args:
        plan: plan of the sweep; None for a run without a sweep.
        result: result of the run.
        phase: phase of the run; "train" for a run without a sweep.
        cell: cell whose settings the run has; None for a run that belongs to no cell.
    """
    recipe, scenario = result.spec.recipe, result.spec.scenario
    if plan is None:
        return protocol_of(recipe)
    if not plan.protocols:  # a plan of a version that had only this protocol
        return HeldOutMean(recipe.window)
    has_matched_recipe = not cell.recipe if cell else phase in (Phase.SEARCH, Phase.SELECT)
    protocol_identity = plan.protocols.get(scenario) if has_matched_recipe else None
    return protocol_from_identity(protocol_identity) if protocol_identity else protocol_of(recipe)


def mlflow_metrics(
    result: RunResult,
    end_time_ms: int | None = None,
    protocol: Protocol | None = None,
    fixed_axes: Collection[str] = (),
) -> list[Metric]:
    """Return the MLflow metrics of a run.

    They are its metrics after every epoch, with system metrics if it has measured them, and its
    summary and numeric settings at the last epoch.

    Args:
        result: result of the run.
        end_time_ms: end of the run in milliseconds since 1970; None for the current time. The
            times of the epochs are computed back from the end.
        protocol: rule that selects the averaged epochs; None for the default of the run's
            learning-rate schedule.
        fixed_axes: names of the random axes whose seed the study holds fixed.
    """
    from mlflow.entities import Metric

    end_ms = int(time.time() * 1000) if end_time_ms is None else end_time_ms
    start_ms = end_ms - int(1000 * sum(result.seconds))
    epoch_ends_ms = [start_ms + int(1000 * seconds) for seconds in accumulate(result.seconds)]
    epoch_ends_ms += [end_ms] * (len(result.trace) - len(epoch_ends_ms))
    metrics = [
        Metric(name, value, epoch_end_ms, int(row["epoch"]))
        for row, epoch_end_ms in zip(result.trace, epoch_ends_ms, strict=False)
        for name, value in row.items()
        if name != "epoch"
    ]
    metrics += (
        Metric(f"system/{name}", value, epoch_ends_ms[int(row["epoch"]) - 1], int(row["epoch"]))
        for row in result.system_metrics
        for name, value in row.items()
        if name != "epoch"
    )
    epochs = [int(epoch) for epoch in result.diagnostics.get("epoch", [])]
    metrics += (
        Metric(
            f"diagnostics/{name}",
            value,
            epoch_ends_ms[epoch - 1] if epoch <= len(epoch_ends_ms) else end_ms,
            epoch,
        )
        for name, values in result.diagnostics.items()
        for epoch, value in zip(epochs, values, strict=True)
        if name != "epoch" and math.isfinite(value)
    )
    last_epoch = int(result.trace[-1]["epoch"]) if result.trace else 0
    rates = {"flip_rate": result.labels.flip_rate, "nominal_rate": result.labels.nominal_rate}
    final_values = {
        **result.summary(protocol),
        **{name: rate for name, rate in rates.items() if rate is not None},
        "skipped": float(result.skipped),
        **numeric_settings(result.spec),
        "seed": float(result.spec.seeds.base_seed(fixed_axes)),
    }
    return metrics + [
        Metric(name, value, end_ms, last_epoch) for name, value in final_values.items()
    ]


def dataset_inputs(result: RunResult) -> list[DatasetInput]:
    """Return the datasets of a run for MLflow: the data, and the noisy training labels.

    Their digests are the beginnings of the SHA-256 of their content, so that runs on the same data,
    or on the same noisy labels, have the same MLflow dataset.

    Args:
        result: result of the run.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    spec, labels = result.spec, result.labels
    data_profile = {"classes": len(labels.transition)}
    label_profile = {"labels": labels.count, "flip_rate": labels.flip_rate}
    datasets = (
        ("data", spec.dataset, spec.data, data_profile),
        ("labels", f"{spec.dataset} {spec.scenario}", labels.sha256, label_profile),
    )
    return [
        DatasetInput(
            Dataset(
                name=name[:MAX_VALUE_LENGTH],
                digest=sha256[:DATASET_DIGEST_LENGTH],
                source_type="nal",
                source=json.dumps({"sha256": sha256}),
                profile=json.dumps(profile),
            ),
            [InputTag("mlflow.data.context", context)],
        )
        for context, name, sha256, profile in datasets
        if sha256
    ]


def artifact_texts(result: RunResult) -> dict[str, str]:
    """Return the contents of a run's MLflow artifacts, by file name."""
    return {
        "spec.json": json.dumps(result.spec.to_dict(), indent=1),
        "transition.json": json.dumps(result.labels.transition),
    }


def _format_value(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
