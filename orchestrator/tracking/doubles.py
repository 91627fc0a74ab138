"""Doubled MLflow runs: several of one sweep, cell or training run.

An answer of an MLflow server may be lost although the request was carried out. MLflow's client then
repeats the request, and if it creates a run, there are two. Here such runs are found by their tags.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.tracking.projection import PARENT_TAG
from reports.stored_runs import preferred_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reports.stored_runs import MlflowRun, TaggedRun

IDENTITY_TAGS = ("nal.kind", "nal.sweep", "nal.cell", "nal.digest")
"""Names of the tags that tell which sweep, cell or training run an MLflow run represents."""


@dataclass(frozen=True, slots=True)
class DistinctRuns:
    """The MLflow runs of a sweep, or of those without a sweep, without doubles.

    Attributes:
        runs: one run for each sweep, cell and training run.
        doubles: all others, which are to be deleted.
        moved_parents: ID of the new parent by the ID of each run of `runs` whose parent is a double
            or is missing.
    """

    runs: Sequence[MlflowRun]
    doubles: Sequence[MlflowRun]
    moved_parents: Mapping[str, str]


def find_distinct_runs(runs: Iterable[MlflowRun]) -> DistinctRuns:
    """Choose one of the MLflow runs of each sweep, cell and training run.

    Runs that lack the tags by which they are told apart are in neither group.

    Args:
        runs: MLflow runs of one sweep, or without a sweep, the most recently started one first.
    """
    groups: dict[tuple[str, ...], list[MlflowRun]] = defaultdict(list)
    for run in runs:
        if identity := _identity(run.data.tags):
            groups[identity].append(run)
    chosen_runs = {identity: preferred_run(group) for identity, group in groups.items()}
    chosen_ids = {run.info.run_id for run in chosen_runs.values()}
    doubles = [
        run for group in groups.values() for run in group if run.info.run_id not in chosen_ids
    ]
    moved_parents = {}
    for (kind, sweep, _), run in chosen_runs.items():
        tags = run.data.tags
        if kind == "sweep" or not sweep or tags.get(PARENT_TAG) in chosen_ids:
            continue
        places = (("cell", sweep, tags.get("nal.cell", "")), ("sweep", sweep, sweep))
        parents = [
            chosen_runs[place] for place in places if place in chosen_runs and place[0] != kind
        ]
        if parents:
            moved_parents[run.info.run_id] = parents[0].info.run_id
    return DistinctRuns(list(chosen_runs.values()), doubles, moved_parents)


def has_doubles(runs: Iterable[TaggedRun]) -> bool:
    """Return whether several of some MLflow runs represent the same sweep, cell or training run.

    Args:
        runs: MLflow runs with their `IDENTITY_TAGS`.
    """
    identities = [identity for run in runs if (identity := _identity(run.tags))]
    return len(set(identities)) < len(identities)


def _identity(tags: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return kind, sweep and digest of what an MLflow run represents; None if a tag is missing."""
    kind, sweep = tags.get("nal.kind", ""), tags.get("nal.sweep", "")
    digests = {"sweep": sweep, "cell": tags.get("nal.cell"), "run": tags.get("nal.digest")}
    digest = digests.get(kind)
    return (kind, sweep, digest) if digest else None
