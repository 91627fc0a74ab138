"""Runs as `read_sweep` gives them, without a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from reports.read import COLUMNS, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trainables.run.result import RunResult


def frame(results: Iterable[RunResult]) -> pd.DataFrame:
    """One row per result."""
    rows = [
        {
            "digest": result.digest,
            "status": str(result.status),
            "converged": result.converged,
            "method": result.spec.method,
            "scenario": result.spec.scenario,
            "seed": result.spec.seeds.init,
            "labels": result.labels.sha256,
            "device": result.provenance["device"],
            "torch": result.provenance["torch"],
            "revision": result.spec.revision,
            **{name: result.summary().get(name, float("nan")) for name in METRICS},
            "flip_rate": float("nan") if rate is None else rate,
        }
        for result in results
        for rate in [result.labels.flip_rate]
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
