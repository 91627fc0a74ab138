"""Workers that Ray's memory monitor kills while they start, and a cluster without nodes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayError

from orchestrator.engine import searcher
from orchestrator.engine.nodes import Nodes
from orchestrator.engine.searcher import RayWatcher

if TYPE_CHECKING:
    from pathlib import Path


def watcher() -> RayWatcher:
    return RayWatcher(lambda: None, Nodes(1, 0, None, print))


def failed_trial(folder: Path, message: str) -> Any:
    path = folder / "error.txt"
    path.write_text(f"Failure # 1 (occurred at 2026-01-01_00-00-00)\n{message}\n")
    return SimpleNamespace(error_file=str(path))


def test_a_worker_killed_to_free_memory_is_not_taken_for_a_lost_one(tmp_path: Path) -> None:
    trial = failed_trial(
        tmp_path, "1 worker(s) were killed due to the node running low on memory. Memory on the"
    )
    with pytest.raises(OutOfMemoryError, match="low on memory"):
        watcher().on_trial_error(iteration=1, trials=[trial], trial=trial)


def test_a_lost_worker_is_tried_again(tmp_path: Path) -> None:
    trial = failed_trial(tmp_path, "The actor died unexpectedly before finishing this task.")
    watcher().on_trial_error(iteration=1, trials=[trial], trial=trial)
    trial.error_file = None
    watcher().on_trial_error(iteration=1, trials=[trial], trial=trial)


def test_a_cluster_without_a_live_node_is_lost_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, nodes = 1000.0, [{"NodeID": "a", "Alive": True, "Resources": {}}]
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    signs: list[float] = []
    watcher = RayWatcher(lambda: signs.append(now), Nodes(1, 0, None, print))
    watcher.on_step_end(1, [])
    nodes = [{"NodeID": "a", "Alive": False, "Resources": {}}]
    now += searcher.MAX_SECONDS_WITHOUT_NODE - 1
    watcher.on_step_end(2, [])
    now += searcher.NODE_CHECK_SECONDS + 1
    with pytest.raises(RayError, match="no node of the cluster is alive"):
        watcher.on_step_end(3, [])
    assert len(signs) == 3
