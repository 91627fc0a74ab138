"""Factories of specs, results and plans for tests that do not train."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from reports.plan_record import CellRecord, DatasetRecord, PlanRecord
from trainables.methods import method_of
from trainables.noise import noise_of
from trainables.run.parameters import FrozenMap, complete_parameters
from trainables.run.recipe import Recipe
from trainables.run.result import LabelStatistics, RunResult, Status
from trainables.run.seeds import Seeds
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLASSES = 10


def text_hash(*parts: object) -> str:
    """Return a SHA-256 that depends only on the arguments."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def labels_hash(spec: RunSpec) -> str:
    """Return a hash of a run's labels that depends only on scenario and noise seed."""
    return text_hash("labels", spec.scenario, spec.seeds.noise)


def make_spec(
    *,
    seed: int = 0,
    method: str = "nal",
    scenario: str = "symmetric-0.4",
    values: Mapping[str, Any] | None = None,
    epochs: int = 6,
    window: int = 3,
    evaluate: Sequence[str] = ("val", "test"),
    **changes: Any,
) -> RunSpec:
    """Return a spec of digits; `values` are hyperparameters, `changes` any other fields."""
    kind = method_of(method)
    fields: dict[str, Any] = {
        "dataset": "digits",
        "data": text_hash("data"),
        "subset": None,
        "backbone": "mlp",
        "backbone_parameters": FrozenMap({"hidden": (128, 128)}),
        "hyperparameters": complete_parameters(f"method {method}", kind.parameters, values or {}),
        "recipe": Recipe(epochs=epochs, batch_size=64, learning_rate=0.05, window=window),
        "hold_out": 0.3 if "val" in evaluate else 0.0,
        "seeds": Seeds.from_base_seed(seed, subset=0),
    }
    return RunSpec(
        scenario=scenario, method=method, evaluate=tuple(evaluate), **{**fields, **changes}
    )


def make_result(
    spec: RunSpec | None = None,
    *,
    accuracy: float = 0.9,
    diverged_at: int | None = None,
    device: str = "cpu",
    **changes: Any,
) -> RunResult:
    """Return a result whose accuracies rise with the epoch and end at `accuracy`.

    All accuracies are highest in the last epoch but one, 0.01 above their last value. A run that
    diverged ends with a NaN loss in epoch `diverged_at`.
    """
    spec = spec or make_spec()
    epochs = diverged_at or spec.recipe.epochs
    trace = []
    for epoch in range(1, epochs + 1):
        remaining = spec.recipe.epochs - epoch
        row = {
            "epoch": float(epoch),
            "train/loss": 1.0 / epoch,
            "train/accuracy": 0.5,
            "learning_rate": spec.recipe.learning_rate,
        }
        if diverged_at == epoch:
            row["train/loss"] = math.nan
        elif spec.recipe.evaluates(epoch):
            offset = {0: 0.0, 1: 0.01}.get(remaining, -0.01 * remaining)
            row |= {f"{split}/accuracy": accuracy + offset for split in spec.evaluate}
        trace.append(row)
    flip = 0.4 / (CLASSES - 1)
    transition = [[0.6 if i == j else flip for j in range(CLASSES)] for i in range(CLASSES)]
    fields: dict[str, Any] = {
        "status": Status.FINISHED if diverged_at is None else Status.DIVERGED,
        "seconds": [0.02] * epochs,
        "peak_memory_mb": 350.5,
        "labels": LabelStatistics(labels_hash(spec), 1437, 0.4, transition),
        "parameters": 26_123,
        "provenance": {
            "device": device,
            "host": "node-1",
            "python": "3.11.9",
            "torch": "2.6.0",
            "commit": "0123abc",
            "dirty": "false",
        },
        "reason": f"loss is nan in epoch {diverged_at}, step 1" if diverged_at else "",
    }
    return RunResult(spec=spec, trace=trace, **{**fields, **changes})


def make_cell(
    method: str = "nal",
    scenario: str = "symmetric-0.4",
    seeds: Sequence[int] = (0, 1, 2),
    values: Mapping[str, Any] | None = None,
    **changes: Any,
) -> CellRecord:
    """Return a cell with the digests of `make_spec` for the same method, scenario and values."""
    values = {"lambda": 0.5, "alpha": 0.9} if values is None and method == "nal" else values or {}
    fields: dict[str, Any] = {
        "method_title": method_of(method).title,
        "scenario_title": noise_of(scenario).title,
        "one_draw": noise_of(scenario).is_seed_independent,
        "origin": "fixed",
        "trials": 0,
        "source": method_of(method).source,
        "digests": [spec.digest for spec in cell_specs(method, scenario, seeds, values)],
    }
    return CellRecord(
        method=method,
        scenario=scenario,
        values=dict(values),
        seeds=list(seeds),
        **{**fields, **changes},
    )


def cell_specs(
    method: str, scenario: str, seeds: Sequence[int], values: Mapping[str, Any]
) -> list[RunSpec]:
    """Return the specs of a cell's runs."""
    return [make_spec(seed=seed, method=method, scenario=scenario, values=values) for seed in seeds]


def make_plan(cells: Sequence[CellRecord] = (), **changes: Any) -> PlanRecord:
    """Return the record of a finished sweep of digits with these cells."""
    fields: dict[str, Any] = {
        "sweep": text_hash("sweep"),
        "study": "digits",
        "title": "scikit-learn digits",
        "dataset": DatasetRecord("digits", "digits", text_hash("data"), 10, 1437, 360),
        "backbone": "MLP",
        "subset": None,
        "epochs": 6,
        "window": 3,
        "scope": "study",
        "protocol": "mean accuracy on held-out noisy labels over the last 3 epochs",
        "standard_error": 0.0237,
        "headline": "last epoch",
        "deviations": [],
        "searches": [],
        "cells": list(cells),
        "state": "finished",
    }
    return PlanRecord(**{**fields, **changes})
