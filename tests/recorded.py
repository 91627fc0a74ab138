"""Recorded runs as `read_sweep` returns them, made without a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.tracking.projection import run_params
from reports.read import RecordedRun
from trainables.run.result import BIT_RELEVANT_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trainables.run.result import RunResult


def recorded_runs(results: Iterable[RunResult]) -> list[RecordedRun]:
    """Return one recorded run per result."""
    return [
        RecordedRun(
            digest=result.digest,
            status=str(result.status),
            converged=result.converged,
            labels_sha256=result.labels.sha256,
            provenance={name: result.provenance[name] for name in BIT_RELEVANT_KEYS},
            revision=result.spec.revision,
            metrics=result.summary()
            | ({} if result.labels.flip_rate is None else {"flip_rate": result.labels.flip_rate}),
            commit=result.provenance["commit"],
            data_sha256=result.spec.data,
            params=run_params(result.spec),
        )
        for result in results
    ]
